// Evaluates flags like a browser game, with the web SDK and OFREP provider of OpenFeature.
// Prints a JSON object with the resolved details and the response statuses.
import { OpenFeature } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";

const [baseUrl, token] = process.argv.slice(2);
const statuses = [];
const fetchImplementation = async (...request) => {
  const response = await fetch(...request);
  statuses.push(response.status);
  return response;
};

const resolve = (client) => {
  const summary = ({ value, variant, reason, errorCode, flagMetadata }) =>
    ({ value, variant, reason, errorCode, flagMetadata });
  return {
    boolean: summary(client.getBooleanDetails("new_tutorial", false)),
    string: summary(client.getStringDetails("copy", "code default")),
    integer: summary(client.getNumberDetails("energy", 1)),
    fraction: summary(client.getNumberDetails("price", 1)),
    object: summary(client.getObjectDetails("bonus", {})),
    noValue: summary(client.getStringDetails("hint", "code default")),
    missing: summary(client.getStringDetails("nothing", "code default")),
    mismatch: summary(client.getStringDetails("energy", "code default")),
  };
};

const options = { baseUrl, fetchImplementation, headers: [["X-API-Key", token]] };
await OpenFeature.setContext({ targetingKey: "player_123" });
await OpenFeature.setProviderAndWait(new OFREPWebProvider(options));
const client = OpenFeature.getClient();
const first = resolve(client);
await OpenFeature.setContext({ targetingKey: "player_123" });
const unchanged = resolve(client);
await OpenFeature.setContext({ targetingKey: "player_123", level: 1 });
const lowered = resolve(client);

await OpenFeature.setContext({});
const withoutKey = resolve(client);

let refused = "ready";
try {
  const headers = [["X-API-Key", "pk_live_nothing"]];
  await OpenFeature.setProviderAndWait("unknown key", new OFREPWebProvider({ ...options, headers }));
} catch (error) {
  refused = { code: error.code, message: error.message };
}
await OpenFeature.close();
console.log(JSON.stringify({ first, unchanged, lowered, withoutKey, refused, statuses }));
