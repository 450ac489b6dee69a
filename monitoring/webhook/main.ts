// `bun monitoring/webhook/main.ts`: an example of who hears of alerts. Alertmanager sends them here in groups; each alert becomes a
// line of JSON on stdout. Set HOST (127.0.0.1) and PORT (9095).
import { z } from 'zod';

/** Of what Alertmanager sends (its webhook version 4), what is passed on. */
const group = z.object({
  alerts: z.array(
    z.object({
      status: z.enum(['firing', 'resolved']),
      labels: z.record(z.string(), z.string()),
      annotations: z.record(z.string(), z.string()),
      startsAt: z.iso.datetime({ offset: true }),
      endsAt: z.iso.datetime({ offset: true }),
    }),
  ),
});

const server = Bun.serve({
  hostname: process.env.HOST ?? '127.0.0.1',
  port: Number(process.env.PORT ?? 9095),
  maxRequestBodySize: 1 << 20,
  routes: {
    '/': {
      async POST(request) {
        const body = group.safeParse(await request.json().catch(() => undefined));
        if (!body.success) return new Response('This is not what Alertmanager sends.\n', { status: 400 });
        for (const { status, labels, annotations, startsAt, endsAt } of body.data.alerts) {
          const end = status === 'resolved' ? { endsAt } : {};
          console.log(JSON.stringify({ status, ...labels, ...annotations, startsAt, ...end }));
        }
        return new Response(null, { status: 204 });
      },
    },
    '/healthz': new Response('ok\n'),
  },
});
console.error(`Listening on ${server.url.href}`);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(0));
