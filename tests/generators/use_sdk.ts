// What a game writes with the client of @hey-api/openapi-ts.
import { client } from "./sdk/client.gen";
import { eventTrack, flagEvaluate, ofrepEvaluate, playerGet, playerRegister } from "./sdk/sdk.gen";

export async function play(baseUrl: string, key: string): Promise<string> {
  client.setConfig({ baseUrl, auth: key });
  const registered = await playerRegister({
    body: { external_id: "player_123", attributes: { level: 45, items: ["sword", null] } },
  });
  const player_id: string = registered.data?.data.id ?? "";
  await eventTrack({ body: { player_id, event_name: "level_complete", properties: { level: 45 } } });
  const evaluated = await flagEvaluate({ path: { key: "new_tutorial" }, body: { player_id } });
  const value: unknown = evaluated.data?.data.value;
  await ofrepEvaluate({ path: { key: "new_tutorial" }, body: { context: { targetingKey: player_id } } });
  const read = await playerGet({ path: { player_id } });
  const level: unknown = read.data?.data.attributes["level"];
  return [value, level, read.error?.error.message].join();
}
