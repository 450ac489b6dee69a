// The connection to Kafka that all of a scorer's readers and writers share the settings of.
import { Kafka, logLevel, type SASLOptions } from 'kafkajs';
import { useCodecs } from './broker-kafka-codecs.ts';
import { createKafkaLog } from './broker-kafka-log.ts';
import type { KafkaSecurity } from './config.ts';
import type { Logger } from './log.ts';
import type { IsNews } from './troubles.ts';

export type KafkaClientOptions = {
  readonly brokers: readonly string[];
  readonly security: Pick<KafkaSecurity, 'isTls' | 'sasl'>;
  /** The brokers' certificate authority in PEM, when it is not one that everybody knows. */
  readonly certificateAuthority?: string;
  /** What Kafka's tools show of this scorer. */
  readonly clientId: string;
  readonly log: Logger;
  readonly isNews: IsNews;
};

export function createKafkaClient(
  options: KafkaClientOptions,
  {
    requestTimeoutMs,
    unpackedSizeMax,
  }: { readonly requestTimeoutMs: number; readonly unpackedSizeMax: number },
): Kafka {
  const { log, isNews } = options;
  useCodecs(unpackedSizeMax);
  return new Kafka({
    clientId: options.clientId,
    brokers: [...options.brokers],
    requestTimeout: requestTimeoutMs,
    // No heartbeat is sent while it waits between retries: short waits.
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 10 },
    logLevel: logLevel.WARN,
    logCreator: () => createKafkaLog(log, isNews),
    ...tlsAndLogin(options),
  });
}

function tlsAndLogin({ security: { isTls, sasl }, certificateAuthority }: KafkaClientOptions) {
  const ssl = certificateAuthority === undefined ? isTls : { ca: [certificateAuthority] };
  return { ssl, ...(sasl === undefined ? {} : { sasl: sasl as SASLOptions }) };
}
