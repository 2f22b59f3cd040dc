/** A fan's and a brand's way from sign-up to the overview, with openapi-fetch and the types of openapi-typescript. */

import createClient from "openapi-fetch";

import type { components, paths } from "./generated/openapi-typescript/api";
import { api, config, mailedToken, ok, password, report, scanOf, setting, unexpected, until } from "./support";

type Schemas = components["schemas"];

function client(token?: string) {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  return createClient<paths>({ baseUrl: api, headers });
}

type Client = ReturnType<typeof client>;

async function login(email: string): Promise<Client> {
  const session = ok(await client().POST("/api/v1/auth/login", { body: { email, password } }));
  return client(session.access_token);
}

async function signedUpFan(): Promise<Client> {
  const email = setting("FAN");
  ok(await client().POST("/api/v1/auth/signup", { body: { email } }));
  ok(await client().POST("/api/v1/auth/verify", { body: { token: await mailedToken(email), password } }));
  return login(email);
}

async function invitedMember(): Promise<Client> {
  const email = setting("MEMBER");
  const token = await mailedToken(email);
  ok(await client().POST("/api/v1/auth/accept-invitation", { body: { token, password } }));
  return login(email);
}

async function launchedCode(member: Client): Promise<string> {
  const body: Schemas["CampaignIn"] = { name: "Plaza Mayor", type: "QR", config: config() };
  const campaign = ok(await member.POST("/api/v1/campaigns", { body }));
  const path = { campaign_id: campaign.id };
  const launch = ok(await member.POST("/api/v1/campaigns/{campaign_id}/launch", { params: { path } }));
  await until(async () => {
    const job = ok(await member.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: launch.id } } }));
    if (job.state === "dead" || job.state === "cancelled") unexpected(job);
    return job.state === "done" || undefined;
  });
  const label = { label: "Lamp post" };
  return ok(await member.POST("/api/v1/campaigns/{campaign_id}/codes", { params: { path }, body: label })).token;
}

/** Scan without consent: the answer names the missing tiers and the notice. Give the consents. */
async function consentAfterRefusal(fan: Client, code: string): Promise<string[]> {
  const { error } = await fan.POST("/api/v1/qr/scan", { body: scanOf(code) });
  if (error?.code !== "consent_required") return unexpected(error);
  for (const tier of error.missing) {
    ok(await fan.POST("/api/v1/consents", { body: { tier, notice_id: error.notice?.id } }));
  }
  return error.missing;
}

/** Scan once more than the campaign accepts: the answer says after how many seconds the limit allows a scan. */
async function waitAfterLimit(fan: Client, code: string): Promise<number> {
  const { error } = await fan.POST("/api/v1/qr/scan", { body: scanOf(code) });
  if (error?.code !== "limit_reached") return unexpected(error);
  return error.retry_after;
}

async function main(): Promise<void> {
  const fan = await signedUpFan();
  const member = await invitedMember();
  const code = await launchedCode(member);
  const missing = await consentAfterRefusal(fan, code);
  const scan = ok(await fan.POST("/api/v1/qr/scan", { body: scanOf(code) }));
  if (scan.status !== "accepted") unexpected(scan);
  const wait = await waitAfterLimit(fan, code);
  const totals = await until(async () => {
    const overview = ok(await member.GET("/api/v1/analytics/overview"));
    return overview.totals.scans === 2 && overview.pending === 0 ? overview.totals : undefined;
  });
  report({ refusals: [missing, wait > 0], scans: totals.scans, accepted: totals.accepted });
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
