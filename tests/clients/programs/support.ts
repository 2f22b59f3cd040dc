/** Settings, mail and polling that the programs of both TypeScript clients share. */

export const api = setting("API");
export const password = "paseo por el prado";
export const place = { lat: 40.41541, lon: -3.7074 };

const PATIENCE_MS = 120_000;

/** Return an environment variable that the test sets. */
export function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

/** Poll until there is a value. */
export async function until<T>(poll: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    const found = await poll();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("nothing was found in time");
}

/** Return the token of the link in the newest mail to an address. */
export function mailedToken(address: string): Promise<string> {
  return until(async () => {
    const response = await fetch(`${setting("MAIL")}/messages?to=${encodeURIComponent(address)}`);
    const { items } = (await response.json()) as { items: { text: string }[] };
    return items.at(-1)?.text.match(/token=([\w=-]+)/)?.[1];
  });
}

/** Return the configuration of a campaign that accepts one scan of each device. */
export function config() {
  return {
    geofence: { ...place, radius_m: 300 },
    scan_limit: { per_device: { count: 1, window: "day" as const } },
    timezone: "Europe/Madrid",
  };
}

/** Return the body of a new scan. */
export function scanOf(code: string) {
  const at = new Date().toISOString();
  return {
    code,
    client_scan_id: crypto.randomUUID(),
    scanned_at: at,
    location: { ...place, accuracy_m: 12, captured_at: at },
    device: { fingerprint: `phone of ${setting("FAN")}` },
  };
}

/** Return the data of a successful answer. */
export function ok<Data>(answer: { data?: Data; error?: unknown }): Exclude<Data, undefined> {
  if (answer.data === undefined) return unexpected(answer.error);
  return answer.data as Exclude<Data, undefined>;
}

/** Print the result that the test compares. */
export function report(result: { refusals: unknown[]; scans: number; accepted: number }): void {
  console.log(JSON.stringify(result));
}

/** Fail with what was found instead. */
export function unexpected(what: unknown): never {
  throw new Error(`unexpected: ${JSON.stringify(what)}`);
}
