/** A fan's and a brand's way from sign-up to the overview, with the SDK of hey-api. */

import {
  acceptInvitation,
  createCampaign,
  createCode,
  reportScan,
  getJob,
  getOverview,
  giveConsent,
  launchCampaign,
  logIn,
  signUp,
  verifyEmail,
} from "./generated/hey-api";
import { createClient, type Client } from "./generated/hey-api/client";
import { api, config, mailedToken, ok, password, report, scanOf, setting, unexpected, until } from "./support";

function clientOf(token?: string): Client {
  return createClient({ baseUrl: api, auth: token });
}

async function login(email: string): Promise<Client> {
  const session = ok(await logIn({ client: clientOf(), body: { email, password } }));
  return clientOf(session.access_token);
}

async function signedUpFan(): Promise<Client> {
  const client = clientOf();
  const email = setting("FAN");
  ok(await signUp({ client, body: { email } }));
  ok(await verifyEmail({ client, body: { token: await mailedToken(email), password } }));
  return login(email);
}

async function invitedMember(): Promise<Client> {
  const email = setting("MEMBER");
  ok(await acceptInvitation({ client: clientOf(), body: { token: await mailedToken(email), password } }));
  return login(email);
}

async function launchedCode(client: Client): Promise<string> {
  const campaign = ok(await createCampaign({ client, body: { name: "Plaza Mayor", type: "QR", config: config() } }));
  const path = { campaign_id: campaign.id };
  const launch = ok(await launchCampaign({ client, path }));
  await until(async () => {
    const job = ok(await getJob({ client, path: { job_id: launch.id } }));
    if (job.state === "dead" || job.state === "cancelled") unexpected(job);
    return job.state === "done" || undefined;
  });
  return ok(await createCode({ client, path, body: { label: "Lamp post" } })).token;
}

/** Scan without consent: the answer names the missing tiers and the notice. Give the consents. */
async function consentAfterRefusal(client: Client, code: string): Promise<string[]> {
  const { error } = await reportScan({ client, body: scanOf(code) });
  if (error?.code !== "consent_required") return unexpected(error);
  for (const tier of error.missing) {
    ok(await giveConsent({ client, body: { tier, notice_id: error.notice?.id } }));
  }
  return error.missing;
}

/** Scan once more than the campaign accepts: the answer says after how many seconds the limit allows a scan. */
async function waitAfterLimit(client: Client, code: string): Promise<number> {
  const { error } = await reportScan({ client, body: scanOf(code) });
  if (error?.code !== "limit_reached") return unexpected(error);
  return error.retry_after;
}

async function main(): Promise<void> {
  const fan = await signedUpFan();
  const member = await invitedMember();
  const code = await launchedCode(member);
  const missing = await consentAfterRefusal(fan, code);
  const scan = ok(await reportScan({ client: fan, body: scanOf(code) }));
  if (scan.status !== "accepted") unexpected(scan);
  const wait = await waitAfterLimit(fan, code);
  const totals = await until(async () => {
    const overview = ok(await getOverview({ client: member }));
    return overview.totals.scans === 2 && overview.pending === 0 ? overview.totals : undefined;
  });
  report({ refusals: [missing, wait > 0], scans: totals.scans, accepted: totals.accepted });
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
