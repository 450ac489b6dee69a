// An HTTP server that answers as MLflow 3 does where a scorer asks, and fails as a test wants it.
import { createHash } from 'node:crypto';

/** When each version was registered. */
export const registeredAtMs = 1_795_392_000_000;

export type FakeVersion = {
  readonly artifact: Uint8Array;
  /** Null: the version has no such tag. By default the artifact's. */
  readonly sha256?: string | null;
};

export type FakeMlflow = {
  readonly uri: string;
  readonly versions: Map<string, FakeVersion>;
  readonly aliases: Map<string, string>;
  /** Paths with queries, in the order in which they were asked for. */
  readonly asked: string[];
  /** Answers in place of the registry; undefined: it answers itself. */
  fault: ((path: string) => Response | Promise<Response> | undefined) | null;
  stop(): Promise<void>;
};

export const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export function startFakeMlflow(name = 'lonetree'): FakeMlflow {
  const refuse = (status: number, code: string, message: string) =>
    Response.json({ error_code: code, message }, { status });

  function describe(version: string, { artifact, sha256 = digest(artifact) }: FakeVersion) {
    const tags = [
      { key: 'features', value: '["temperature", "humidity", "sound"]' },
      ...(sha256 === null ? [] : [{ key: 'sha256', value: sha256 }]),
    ];
    const source = 'models:/m-5f1d2a6a33a94b0d9c24e6ad1d0be7f3';
    const common = { name, version, current_stage: 'None', description: '', status: 'READY', source };
    return { ...common, creation_timestamp: registeredAtMs, tags, aliases: [] };
  }

  function answer(url: URL): Response {
    const { pathname, searchParams } = url;
    if (searchParams.get('name') !== name)
      return refuse(
        404,
        'RESOURCE_DOES_NOT_EXIST',
        `Registered Model with name=${searchParams.get('name')} not found`,
      );
    if (pathname === '/api/2.0/mlflow/registered-models/alias') {
      const alias = searchParams.get('alias') ?? '';
      const version = fake.aliases.get(alias);
      const found = version === undefined ? undefined : fake.versions.get(version);
      if (version === undefined || found === undefined)
        return refuse(400, 'INVALID_PARAMETER_VALUE', `Registered model alias ${alias} not found.`);
      return Response.json({ model_version: describe(version, found) });
    }
    const version = fake.versions.get(searchParams.get('version') ?? '');
    const isArtifact =
      pathname === '/model-versions/get-artifact' && searchParams.get('path') === 'extra_files/model.forest';
    if (version === undefined || !isArtifact) return refuse(404, 'RESOURCE_DOES_NOT_EXIST', 'not found');
    return new Response(new Uint8Array(version.artifact), {
      headers: { 'content-type': 'application/octet-stream' },
    });
  }

  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch(request) {
      const url = new URL(request.url);
      fake.asked.push(url.pathname + url.search);
      return fake.fault?.(url.pathname) ?? answer(url);
    },
  });
  const fake: FakeMlflow = {
    uri: server.url.href,
    versions: new Map(),
    aliases: new Map(),
    asked: [],
    fault: null,
    stop: () => server.stop(true),
  };
  return fake;
}
