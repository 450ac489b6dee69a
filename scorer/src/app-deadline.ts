// A bound on how long a request waits for work, which goes on without it.

export class DeadlinePassed extends Error {}

export async function within<T>(deadlineMs: number, work: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new DeadlinePassed(`no answer within ${deadlineMs} ms`)), deadlineMs);
  return await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
