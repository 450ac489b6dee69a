// What must never be read in a log: the secrets of a configuration, in every form in which they may turn up.
import type { Config } from './config.ts';

const hidden = '[secret]';

/** All secrets, and what gives them away. */
export function secretsOf({ backend, adminToken, kafkaSecurity, model }: Config): readonly string[] {
  const databaseUrl = backend.kind === 'full' ? backend.databaseUrl : undefined;
  const secrets = [
    databaseUrl,
    passwordOf(databaseUrl),
    adminToken,
    kafkaSecurity.sasl?.password,
    passwordOf(model.registryUri),
    basicCredentials(model.registryUri),
  ];
  return secrets.filter((secret) => secret !== undefined);
}

/** Hides secrets in a line of JSON: in its values, so that it stays JSON whatever the secrets are. */
export function createHiding(secrets: readonly string[]): (line: string) => string {
  const forms = [...new Set(secrets.flatMap(formsOf))].filter((form) => form !== '');
  forms.sort((a, b) => b.length - a.length); // The whole before its parts.
  if (forms.length === 0) return (line) => line;
  const inJson = forms.map(escaped);
  const hideIn = (text: string) => forms.reduce((rest, form) => rest.replaceAll(form, hidden), text);
  return (line) => {
    if (!inJson.some((form) => line.includes(form))) return line; // Nearly always.
    const cleaned: unknown = JSON.parse(line, (_, value: unknown) =>
      typeof value === 'string' ? hideIn(value) : value,
    );
    return `${JSON.stringify(cleaned)}\n`;
  };
}

/** As it is, as part of an address, and either as part of JSON. */
function formsOf(secret: string): readonly string[] {
  const plain = [secret, decoded(secret), encodeURIComponent(decoded(secret))];
  return [...plain, ...plain.map(escaped)];
}

const escaped = (text: string) => JSON.stringify(text).slice(1, -1);

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // It was not encoded.
  }
}

/** Everything between the scheme and the last @ before the path; addresses of databases may name several hosts. */
const userInfoOf = (address: string | undefined) => address?.match(/^[^:]+:\/\/([^/?#]*)@/)?.[1];

function passwordOf(address: string | undefined): string | undefined {
  const userInfo = userInfoOf(address);
  const colon = userInfo?.indexOf(':') ?? -1;
  return colon === -1 ? undefined : userInfo?.slice(colon + 1);
}

/** What the header `authorization` makes of an address's user and password. */
function basicCredentials(address: string | undefined): string | undefined {
  const userInfo = userInfoOf(address);
  return userInfo === undefined ? undefined : Buffer.from(decoded(userInfo)).toString('base64');
}
