// The benchmark's command line.
import { parseArgs } from 'node:util';

const usage = `bun run bench:http [-- options]

Measures POST /v1/score with 1 and 64 readings a request, in JSON and Protobuf, beside FastAPI with scikit-learn and MLflow's
model server with the same forest. All scores are checked first; then wrk loads one server after the other, again and again.

  --servers NAME,…   lonetree, fastapi, mlflow (all)
  --baseline FOLDER  also another checkout of this repository, as lonetree-baseline
  --rows N,N         readings a request (1,64)
  --repetitions N    counted ones; one more before them warms up (6)
  --seconds N        of one repetition (4)
  --json FILE        also write the result there; it goes to stdout in any case
  --markdown FILE    also put the table between <!-- http:begin --> and <!-- http:end --> of that file
`;

const serverNames = ['lonetree', 'fastapi', 'mlflow'];
/** Bounds against slips of the finger. */
const readingsMax = 16_384;
const repetitionsMax = 100;
const secondsMax = 600;

/** Says what is wrong and ends the process when it cannot be used. */
export function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        servers: { type: 'string', default: serverNames.join(',') },
        baseline: { type: 'string' },
        rows: { type: 'string', default: '1,64' },
        repetitions: { type: 'string', default: '6' },
        seconds: { type: 'string', default: '4' },
        json: { type: 'string' },
        markdown: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      process.stdout.write(usage);
      process.exit(0);
    }
    return {
      servers: readServers(values.servers),
      rows: values.rows.split(',').map((text) => readCount('rows', text, readingsMax)),
      repetitions: readCount('repetitions', values.repetitions, repetitionsMax),
      seconds: readCount('seconds', values.seconds, secondsMax),
      baseline: values.baseline,
      json: values.json,
      markdown: values.markdown,
    };
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${usage}`);
    process.exit(2);
  }
}

function readServers(text: string): string[] {
  const names = text.split(',');
  const strange = names.find((name) => !serverNames.includes(name));
  if (strange === undefined && names.includes('lonetree')) return names;
  throw new Error(`--servers ${text}: give lonetree, and with it fastapi or mlflow or both.`);
}

function readCount(name: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new Error(`--${name} ${text}: give whole numbers from 1 to ${max}.`);
}
