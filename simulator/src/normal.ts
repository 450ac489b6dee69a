// The standard normal distribution: upper tail and quantile. Pure numbers, no state.

const SQRT_TWO_PI = 2.5066282746310002;
const SERIES_LIMIT = 2.5;
const FRACTION_TERMS = 120;

function normalDensity(z: number): number {
  return Math.exp(-0.5 * z * z) / SQRT_TWO_PI;
}

/** P(Z > z), to full relative accuracy also far out, where 1 − cdf would have no digits left. */
export function normalTail(z: number): number {
  if (z < 0) return 1 - normalTail(-z);
  if (z > SERIES_LIMIT) return normalDensity(z) / laplaceFraction(z);
  // Marsaglia 2004, "Evaluating the normal distribution": Φ(z) = 1/2 + φ(z)·(z + z³/3 + z⁵/(3·5) + …).
  let term = z;
  let sum = z;
  for (let odd = 3; term > sum * 1e-17; odd += 2) {
    term *= (z * z) / odd;
    sum += term;
  }
  return 0.5 - normalDensity(z) * sum;
}

/** The inverse Mills ratio as Laplace's continued fraction, z + 1/(z + 2/(z + 3/(z + …))). */
function laplaceFraction(z: number): number {
  let fraction = z;
  for (let term = FRACTION_TERMS; term >= 1; term--) fraction = z + term / fraction;
  return fraction;
}

// Coefficients of AS 241, highest power first.
const CENTRAL = {
  numerator: [
    2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987, 13731.69376550946,
    1971.5909503065513, 133.14166789178438, 3.3871328727963665,
  ],
  denominator: [
    5226.495278852854, 28729.085735721943, 39307.89580009271, 21213.794301586597, 5394.196021424751,
    687.1870074920579, 42.31333070160091, 1.0,
  ],
};
const MIDDLE = {
  numerator: [
    0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684, 3.6478483247632045,
    5.769497221460691, 4.630337846156546, 1.4234371107496835,
  ],
  denominator: [
    1.0507500716444169e-9, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008, 0.6897673349851,
    1.6763848301838038, 2.053191626637759, 1.0,
  ],
};
const FAR = {
  numerator: [
    2.0103343992922881e-7, 2.7115555687434876e-5, 0.0012426609473880784, 0.026532189526576124,
    0.29656057182850487, 1.7848265399172913, 5.463784911164114, 6.657904643501103,
  ],
  denominator: [
    2.0442631033899397e-15, 1.421511758316446e-7, 1.8463183175100548e-5, 0.0007868691311456133,
    0.014875361290850615, 0.1369298809227358, 0.599832206555888, 1.0,
  ],
};

/** The z with P(Z ≤ z) = probability. Wichura 1988, algorithm AS 241 (PPND16), about 1e-16 relative. */
export function normalQuantile(probability: number): number {
  const q = probability - 0.5;
  if (Math.abs(q) <= 0.425) return q * ratio(CENTRAL, 0.180625 - q * q);
  const r = Math.sqrt(-Math.log(q < 0 ? probability : 1 - probability));
  const z = r <= 5 ? ratio(MIDDLE, r - 1.6) : ratio(FAR, r - 5);
  return q < 0 ? -z : z;
}

type Rational = { readonly numerator: readonly number[]; readonly denominator: readonly number[] };

function ratio({ numerator, denominator }: Rational, r: number): number {
  let top = 0;
  let bottom = 0;
  for (let index = 0; index < numerator.length; index++) {
    top = top * r + (numerator[index] as number);
    bottom = bottom * r + (denominator[index] as number);
  }
  return top / bottom;
}
