// All settings: names, defaults, what is allowed and what they mean, in one table. Nothing else reads the environment.
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { readSecretFile } from './secret-file.ts';

const repository = join(import.meta.dir, '..', '..');

const text = (fallback: string) => z.string().default(fallback);
const count = (fallback: number, min: number, max: number) => {
  const allowed = `give a whole number from ${min} to ${max}`;
  return z.coerce.number(allowed).int(allowed).min(min, allowed).max(max, allowed).default(fallback);
};
const share = (fallback: number) => {
  const allowed = 'give a number from 0 to 1';
  return z.coerce.number(allowed).min(0, allowed).max(1, allowed).default(fallback);
};
const oneOf = <const T extends readonly string[]>(values: T) =>
  z.enum(values, `give one of ${values.join(', ')}`);
const flag = oneOf(['true', 'false'])
  .default('false')
  .transform((value) => value === 'true');
const topicName = (fallback: string) =>
  z
    .string()
    .regex(/^[a-zA-Z0-9._-]{1,249}$/, 'give 1 to 249 letters, digits, dots, dashes or underscores')
    .default(fallback);
const brokerList = z
  .string()
  .regex(/^\s*[^\s,:]+:\d+\s*(,\s*[^\s,:]+:\d+\s*)*$/, 'give host:port, more than one separated by commas');
const databaseUrl = z
  .string()
  // The client takes several hosts, separated by commas; URLs have one.
  .refine((url) => /^postgres(ql)?:\/\//.test(url) && URL.canParse(url.replace(/,[^/?]*/, '')), {
    message:
      'give postgres://user:password@host:port/database, with special characters of the password percent-encoded',
  });

const registryUri = z
  .string()
  .refine(
    (uri) => /^https?:\/\//.test(uri) && URL.canParse(uri),
    'give http://host:port or https://host:port',
  );

/** Settings that a file may hold; `<NAME>_FILE` then names it. */
const secretNames = ['DATABASE_URL', 'ADMIN_TOKEN', 'KAFKA_SASL_PASSWORD'] as const;
type SecretName = (typeof secretNames)[number];
const secretFile = (name: SecretName) => z.string().optional().describe(`file that holds ${name}`);

/** Environment variables, in the order in which documents show them. */
const settings = {
  KAFKA_BROKERS: brokerList
    .optional()
    .describe(
      'host:port of Kafka brokers, comma-separated; with DATABASE_URL. Without both: one SQLite file',
    ),
  DATABASE_URL: databaseUrl
    .optional()
    .describe('postgres://user:password@host:port/database; with KAFKA_BROKERS'),
  DATABASE_URL_FILE: secretFile('DATABASE_URL'),
  MLFLOW_TRACKING_URI: registryUri
    .optional()
    .describe('http://host:port of the MLflow server whose model scores; without it MODEL_FILE does'),
  MODEL_NAME: text('lonetree').describe('the name under which the model is registered and recorded'),
  MODEL_ALIAS: text('champion').describe('alias of the version that scores'),
  CHALLENGER_ALIAS: text('challenger').describe('alias of the version that scores in shadow beside it'),
  SHADOW_SAMPLE_RATE: share(0.1).describe(
    'share of the messages that the challenger scores too, 0 to 1; 0: it is not loaded',
  ),
  MODEL_FILE: text(join(repository, 'models', 'default.forest')).describe(
    'the forest file that scores as long as there is no registered one',
  ),
  MODEL_POLL_SECONDS: count(30, 1, 86_400).describe('how often, on average, it looks for another model'),
  MODEL_UPDATES_TOPIC: topicName('model-updates').describe('topic of announcements of models'),
  ADMIN_TOKEN: z
    .string()
    .optional()
    .describe('bearer token of who may change the model; without it nobody may'),
  ADMIN_TOKEN_FILE: secretFile('ADMIN_TOKEN'),
  SCORER_ID: z
    .string()
    .regex(/^[a-zA-Z0-9._-]{1,200}$/, 'give 1 to 200 letters, digits, dots, dashes or underscores')
    .optional()
    .describe(
      'name of this scorer in records and in the consumer group; when not given, of the host’s name and the process’s number',
    ),
  HOST: text('127.0.0.1').describe('address that HTTP listens on'),
  PORT: count(8080, 0, 65_535).describe('port that HTTP listens on'),
  DATA_DIR: text(join(repository, '.data')).describe(
    'folder of the last good model, and of the SQLite file when embedded; each scorer has its own',
  ),
  LOG_LEVEL: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('info')
    .describe('least severe level that is logged'),
  RETENTION_DAYS: count(30, 1, 36_500).describe('days that verdicts are kept, when embedded'),
  KAFKA_GROUP: text('scorer').describe('consumer group; each keeps positions of its own'),
  READINGS_TOPIC: topicName('readings').describe('topic of readings'),
  ANOMALIES_TOPIC: topicName('anomalies').describe('topic that abnormal readings are published to'),
  DEAD_LETTER_TOPIC: topicName('readings.dead-letter').describe('topic of messages that cannot be scored'),
  KAFKA_SSL: flag.describe('true: TLS to the brokers'),
  KAFKA_SSL_CA_FILE: z.string().optional().describe('certificate authority of the brokers, a PEM file'),
  KAFKA_SASL_MECHANISM: oneOf(['plain', 'scram-sha-256', 'scram-sha-512'])
    .optional()
    .describe('how to log in to the brokers'),
  KAFKA_SASL_USERNAME: z.string().optional().describe('with KAFKA_SASL_MECHANISM'),
  KAFKA_SASL_PASSWORD: z.string().optional().describe('with KAFKA_SASL_MECHANISM'),
  KAFKA_SASL_PASSWORD_FILE: secretFile('KAFKA_SASL_PASSWORD'),
} as const;

const schema = z.object(settings);
type Settings = z.infer<typeof schema>;

export type FullBackend = {
  readonly kind: 'full';
  readonly brokers: readonly string[];
  readonly databaseUrl: string;
};
export type EmbeddedBackend = {
  readonly kind: 'embedded';
  readonly retentionDays: number;
};

export type Config = {
  readonly backend: FullBackend | EmbeddedBackend;
  readonly model: {
    /** The MLflow server; undefined: the file is what is followed. */
    readonly registryUri: string | undefined;
    readonly name: string;
    readonly alias: string;
    readonly file: string;
    readonly pollIntervalMs: number;
  };
  readonly shadow: { readonly alias: string; readonly sampleRate: number };
  /** Name of this scorer in records and in the consumer group. */
  readonly scorer: string;
  /** Undefined: nobody may change the model by HTTP. */
  readonly adminToken: string | undefined;
  readonly dataFolder: string;
  readonly host: string;
  readonly port: number;
  readonly logLevel: Settings['LOG_LEVEL'];
  readonly group: string;
  readonly topics: {
    readonly readings: string;
    readonly anomalies: string;
    readonly deadLetters: string;
    readonly modelUpdates: string;
  };
  readonly kafkaSecurity: KafkaSecurity;
};

export type KafkaSecurity = {
  readonly isTls: boolean;
  readonly caFile: string | undefined;
  readonly sasl:
    | {
        readonly mechanism: NonNullable<Settings['KAFKA_SASL_MECHANISM']>;
        readonly username: string;
        readonly password: string;
      }
    | undefined;
};

/** Settings that cannot be used; the message names the variable, its value and what is allowed. */
export class ConfigError extends Error {}

export function readConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const given = readSecrets(
    Object.fromEntries(
      Object.keys(settings).map((name) => [name, environment[name] === '' ? undefined : environment[name]]),
    ),
  );
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw new ConfigError(describeIssues(parsed.error.issues, given));
  const { data } = parsed;
  checkTopics(data);
  checkAliases(data);
  return {
    backend: chooseBackend(data),
    model: {
      registryUri: data.MLFLOW_TRACKING_URI,
      name: data.MODEL_NAME,
      alias: data.MODEL_ALIAS,
      file: data.MODEL_FILE,
      pollIntervalMs: 1_000 * data.MODEL_POLL_SECONDS,
    },
    shadow: { alias: data.CHALLENGER_ALIAS, sampleRate: data.SHADOW_SAMPLE_RATE },
    scorer: data.SCORER_ID ?? `${hostname()}-${process.pid}`,
    adminToken: data.ADMIN_TOKEN,
    dataFolder: data.DATA_DIR,
    host: data.HOST,
    port: data.PORT,
    logLevel: data.LOG_LEVEL,
    group: data.KAFKA_GROUP,
    topics: {
      readings: data.READINGS_TOPIC,
      anomalies: data.ANOMALIES_TOPIC,
      deadLetters: data.DEAD_LETTER_TOPIC,
      modelUpdates: data.MODEL_UPDATES_TOPIC,
    },
    kafkaSecurity: { isTls: data.KAFKA_SSL, caFile: data.KAFKA_SSL_CA_FILE, sasl: readSasl(data) },
  };
}

type Given = Readonly<Record<string, string | undefined>>;

const fileSetting = (name: SecretName) => `${name}_FILE` as const;

/** The settings with the secrets that files hold. */
function readSecrets(given: Given): Given {
  const complaints: string[] = [];
  const secrets: Record<string, string> = {};
  for (const name of secretNames) {
    const file = given[fileSetting(name)];
    if (file === undefined) continue;
    if (given[name] !== undefined) {
      complaints.push(`${name} and ${fileSetting(name)} are both set: set one of them.`);
      continue;
    }
    const answer = readSecretFile(file);
    if ('secret' in answer) secrets[name] = answer.secret;
    else complaints.push(`${fileSetting(name)}="${file}" cannot be used: ${answer.unusable}.`);
  }
  if (complaints.length > 0) throw new ConfigError(complaints.join('\n'));
  return { ...given, ...secrets };
}

function describeIssues(issues: readonly z.core.$ZodIssue[], given: Given): string {
  return issues
    .map((issue) => {
      const name = String(issue.path[0]);
      const value = /PASSWORD|TOKEN|UR[LI]/.test(name) ? '(not shown)' : JSON.stringify(given[name]);
      const file = given[`${name}_FILE`];
      const origin = file === undefined ? '' : `, from the file ${file},`;
      return `${name}=${value}${origin} cannot be used: ${issue.message}.`;
    })
    .join('\n');
}

/** A scorer that read what it writes would never end. */
function checkTopics(data: Settings): void {
  const { READINGS_TOPIC, ANOMALIES_TOPIC, DEAD_LETTER_TOPIC, MODEL_UPDATES_TOPIC } = data;
  const names = { READINGS_TOPIC, ANOMALIES_TOPIC, DEAD_LETTER_TOPIC, MODEL_UPDATES_TOPIC };
  if (new Set(Object.values(names)).size === 4) return;
  const list = Object.entries(names).map(([name, topic]) => `${name}="${topic}"`);
  throw new ConfigError(`${list.join(', ')} cannot be used: give four different topics.`);
}

/** A model beside itself would tell nothing. */
function checkAliases({ MODEL_ALIAS, CHALLENGER_ALIAS }: Settings): void {
  if (MODEL_ALIAS !== CHALLENGER_ALIAS) return;
  throw new ConfigError(
    `MODEL_ALIAS="${MODEL_ALIAS}" and CHALLENGER_ALIAS="${CHALLENGER_ALIAS}" cannot be used: give two different aliases.`,
  );
}

function chooseBackend({ KAFKA_BROKERS, DATABASE_URL, RETENTION_DAYS }: Settings): Config['backend'] {
  if (KAFKA_BROKERS === undefined && DATABASE_URL === undefined) {
    return { kind: 'embedded', retentionDays: RETENTION_DAYS };
  }
  if (KAFKA_BROKERS !== undefined && DATABASE_URL !== undefined) {
    return {
      kind: 'full',
      brokers: KAFKA_BROKERS.split(',').map((broker) => broker.trim()),
      databaseUrl: DATABASE_URL,
    };
  }
  const [there, missing] =
    KAFKA_BROKERS === undefined ? ['DATABASE_URL', 'KAFKA_BROKERS'] : ['KAFKA_BROKERS', 'DATABASE_URL'];
  throw new ConfigError(
    `${there} is set and ${missing} is not: set both to run with Kafka and PostgreSQL, or neither to run with one SQLite file.`,
  );
}

function readSasl(data: Settings): KafkaSecurity['sasl'] {
  const {
    KAFKA_SASL_MECHANISM: mechanism,
    KAFKA_SASL_USERNAME: username,
    KAFKA_SASL_PASSWORD: password,
  } = data;
  if (mechanism === undefined && username === undefined && password === undefined) return undefined;
  if (mechanism !== undefined && username !== undefined && password !== undefined)
    return { mechanism, username, password };
  throw new ConfigError(
    'KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD belong together: set all three or none.',
  );
}

export type SettingDescription = {
  readonly name: string;
  /** As it would be given; undefined: there is none. */
  readonly fallback: string | undefined;
  /** What is taken, in words; undefined: any text. */
  readonly allowed: string | undefined;
  readonly meaning: string;
};

/** What no setting with any rule takes. */
const neverAllowed = '\0';

/** For documents and `--help`. */
export function describeSettings(): SettingDescription[] {
  const defaults = schema.parse({}) as Readonly<Record<string, string | number | boolean | undefined>>;
  return Object.entries(settings).map(([name, type]) => {
    const value = defaults[name];
    // Who gives what is not allowed is told what is.
    const complaint = type.safeParse(neverAllowed).error?.issues[0]?.message;
    return {
      name,
      fallback: value === undefined ? undefined : String(value).replace(`${repository}/`, ''),
      allowed: complaint?.replace(/^give /, ''),
      meaning: type.description ?? '',
    };
  });
}
