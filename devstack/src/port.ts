// Finds loopback ports for servers that must come back on the same port after they were killed.

const portMin = 15_000;
const portMax = 31_999;
const triesMax = 100;

/**
 * A free port below the range that the kernel hands to outgoing connections: there, a client that reconnects while
 * its server is down can be given the server's own port, and then keeps it from starting again.
 */
export function freePort(): number {
  for (let tries = 0; tries < triesMax; tries++) {
    const port = portMin + Math.floor(Math.random() * (portMax - portMin + 1));
    if (isFree(port)) return port;
  }
  throw new Error(
    `No free port between ${portMin} and ${portMax} in ${triesMax} tries: end what listens there.`,
  );
}

function isFree(port: number): boolean {
  try {
    Bun.listen({ hostname: '127.0.0.1', port, exclusive: true, socket: { data() {} } }).stop(true);
    return true;
  } catch {
    return false;
  }
}
