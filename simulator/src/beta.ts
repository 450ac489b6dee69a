// The beta distribution: cumulative probability and quantile. Pure numbers, no state.

const FRACTION_TERMS_MAX = 500;
const NEWTON_STEPS_MAX = 200;
const TINY = 1e-300;

/** P(X ≤ x) for X ~ Beta(alpha, beta), the regularised incomplete beta function. */
export function betaCdf(x: number, alpha: number, beta: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // Below this point the fraction converges fast (DLMF 8.17.22); above it the mirrored one does.
  if (x > (alpha + 1) / (alpha + beta + 2)) return 1 - betaCdf(1 - x, beta, alpha);
  const logFront = alpha * Math.log(x) + beta * Math.log1p(-x) - logBeta(alpha, beta) - Math.log(alpha);
  return Math.exp(logFront) / continuedFraction(x, alpha, beta);
}

function betaDensity(x: number, alpha: number, beta: number): number {
  return Math.exp((alpha - 1) * Math.log(x) + (beta - 1) * Math.log1p(-x) - logBeta(alpha, beta));
}

/** The x with P(X ≤ x) = probability; for the upper half ask for 1 − betaQuantile(tail, beta, alpha). */
export function betaQuantile(probability: number, alpha: number, beta: number): number {
  let low = 0;
  let high = 1;
  let x = alpha / (alpha + beta);
  for (let step = 0; step < NEWTON_STEPS_MAX; step++) {
    const excess = betaCdf(x, alpha, beta) - probability;
    if (excess > 0) high = x;
    else low = x;
    const newton = x - excess / betaDensity(x, alpha, beta);
    // Newton leaves the bracket in the flat tails; halving always comes nearer.
    const next = newton > low && newton < high ? newton : (low + high) / 2;
    if (Math.abs(next - x) <= 1e-15 * x) return next;
    x = next;
  }
  return x;
}

/** Modified Lentz algorithm for 1 + d1/(1 + d2/(1 + …)), DLMF 8.17.22–23. */
function continuedFraction(x: number, alpha: number, beta: number): number {
  let fraction = 1;
  let numeratorRatio = 1;
  let denominatorRatio = 0;
  for (let term = 1; term <= FRACTION_TERMS_MAX; term++) {
    const coefficient = fractionCoefficient(term, x, alpha, beta);
    denominatorRatio = 1 / (1 + coefficient * denominatorRatio || TINY);
    numeratorRatio = 1 + coefficient / numeratorRatio || TINY;
    const factor = numeratorRatio * denominatorRatio;
    fraction *= factor;
    if (Math.abs(factor - 1) < 1e-16) break;
  }
  return fraction;
}

function fractionCoefficient(term: number, x: number, alpha: number, beta: number): number {
  const m = Math.floor(term / 2);
  if (term % 2 === 0) return (m * (beta - m) * x) / ((alpha + 2 * m - 1) * (alpha + 2 * m));
  return (-(alpha + m) * (alpha + beta + m) * x) / ((alpha + 2 * m) * (alpha + 2 * m + 1));
}

function logBeta(alpha: number, beta: number): number {
  return logGamma(alpha) + logGamma(beta) - logGamma(alpha + beta);
}

// Lanczos approximation with g = 7, nine coefficients by Godfrey.
const LANCZOS = [
  0.9999999999998099, 676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406,
  12.507343278686905, -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7,
] as const;

/** ln Γ(x) for x ≥ 0.5. */
function logGamma(x: number): number {
  let sum: number = LANCZOS[0];
  for (let index = 1; index < LANCZOS.length; index++) sum += (LANCZOS[index] as number) / (x - 1 + index);
  const shifted = x + 6.5;
  return 0.9189385332046728 + (x - 0.5) * Math.log(shifted) - shifted + Math.log(sum);
}
