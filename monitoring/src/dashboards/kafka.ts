import { chosen, type Plan } from '../dashboard.ts';
import { lines, number } from '../panels.ts';

/** Is the log well, and what goes through it? */
export const kafka: Plan = {
  uid: 'lonetree-kafka',
  title: 'Kafka',
  description: 'The broker’s own figures, by the JMX agent in it, and how far readers are behind.',
  metric: 'kafka_server_partitioncount',
  rows: [
    {
      title: 'Now',
      panels: [
        number({
          title: 'Brokers up',
          description: 'Brokers that Prometheus reaches.',
          unit: 'short',
          base: 'red',
          limits: [[1, 'green']],
          query: [`sum(up{${chosen}})`, 'brokers'],
        }),
        number({
          title: 'Controllers',
          description: 'Exactly one among all brokers.',
          unit: 'short',
          base: 'red',
          limits: [
            [1, 'green'],
            [2, 'red'],
          ],
          query: [`sum(kafka_controller_activecontrollercount{${chosen}})`, 'controllers'],
        }),
        number({
          title: 'Partitions without a leader',
          description: 'None. Else nobody can read or write them.',
          unit: 'short',
          limits: [[1, 'red']],
          query: [`sum(kafka_controller_offlinepartitionscount{${chosen}})`, 'offline'],
        }),
        number({
          title: 'Under-replicated partitions',
          description: 'None, but for moments after a broker’s restart.',
          unit: 'short',
          limits: [[1, 'red']],
          query: [`sum(kafka_server_underreplicatedpartitions{${chosen}})`, 'under-replicated'],
        }),
        number({
          title: 'Request handlers’ free time',
          description: 'Share that is idle. Under 0.3 the broker is what bounds.',
          unit: 'percentunit',
          base: 'red',
          limits: [
            [0.3, 'yellow'],
            [0.5, 'green'],
          ],
          query: [`min(kafka_server_request_handler_idle_ratio{${chosen}})`, 'idle'],
        }),
        number({
          title: 'Failed requests',
          description: 'Each second. None.',
          unit: 'reqps',
          limits: [[0.01, 'red']],
          query: [
            `sum(rate(kafka_server_failedproducerequests_total{${chosen}}[$__rate_interval])) + sum(rate(kafka_server_failedfetchrequests_total{${chosen}}[$__rate_interval]))`,
            'failed',
          ],
        }),
      ],
    },
    {
      title: 'Topics',
      panels: [
        lines({
          title: 'Messages in',
          description: 'Each second, by topic.',
          unit: 'cps',
          queries: [
            [`sum by (topic) (rate(kafka_topic_messagesin_total{${chosen}}[$__rate_interval]))`, '{{topic}}'],
          ],
        }),
        lines({
          title: 'Bytes in and out',
          description:
            'Each second, of all topics. Much more out than in: many readers, or somebody reads old messages again.',
          unit: 'Bps',
          queries: [
            [`sum(rate(kafka_topic_bytesin_total{${chosen}}[$__rate_interval]))`, 'in'],
            [`sum(rate(kafka_topic_bytesout_total{${chosen}}[$__rate_interval]))`, 'out'],
          ],
        }),
        lines({
          title: 'Size on disk, by topic',
          description: 'What retention leaves. It bounds how long scorers may be away.',
          unit: 'bytes',
          queries: [[`sum by (topic) (kafka_log_size_bytes{${chosen}})`, '{{topic}}']],
        }),
        lines({
          title: 'Messages that wait for scorers',
          description: 'By partition, as the scorers see it.',
          unit: 'short',
          queries: [['sum by (partition) (lonetree_consumer_lag_messages)', 'partition {{partition}}']],
        }),
      ],
    },
    {
      title: 'Broker',
      panels: [
        lines({
          title: 'Requests, 99th percentile of their time',
          description:
            'Fetches of idle readers wait on purpose, up to a quarter of a second here. Produce is what counts.',
          unit: 's',
          queries: [[`max by (request) (kafka_network_request_time_p99_seconds{${chosen}})`, '{{request}}']],
        }),
        lines({
          title: 'JVM: heap',
          description:
            'Bytes used. It falls with each collection; when it no longer does, the heap is too small.',
          unit: 'bytes',
          queries: [
            [`sum by (instance) (jvm_memory_used_bytes{${chosen}, area="heap"})`, 'heap {{instance}}'],
          ],
        }),
      ],
    },
  ],
};
