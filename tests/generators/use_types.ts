// What a game writes with the types of openapi-typescript.
import type { components, operations } from "./types";

type Schemas = components["schemas"];
type Reply<Id extends keyof operations, Status extends keyof operations[Id]["responses"]> =
  operations[Id]["responses"][Status] extends { content: { "application/json": infer Body } } ? Body : never;

export const player: Schemas["PlayerRegister"] = {
  external_id: "player_123",
  attributes: { level: 45, vip: true, name: "Ann", items: ["sword", null, { id: 7 }], clan: null },
};
export const event: Schemas["EventTrack"] = {
  player_id: "550e8400-e29b-41d4-a716-446655440000",
  event_name: "level_complete",
  properties: { level: 45, boss: { name: "Orc" } },
};
export const batch: Schemas["EventBatch"] = { events: [event] };
export const question: Schemas["FlagEvaluate"] = { player_id: event.player_id, context: { level: 1 } };
export const openFeature: Schemas["OfrepEvaluate"] = { context: { targetingKey: "player_123", level: 1 } };

export function read(
  registered: Reply<"player_register", 201>,
  evaluated: Reply<"flag_evaluate", 200>,
  failed: Reply<"player_get", 404>,
): string {
  const done: true = registered.success;
  const id: string = registered.data.id;
  const level: unknown = registered.data.attributes["level"];
  const value: unknown = evaluated.data.value;
  const reason: "override" | string = evaluated.data.reason;
  return [done, id, level, value, reason, failed.error.message].join();
}
