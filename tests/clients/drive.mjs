// Drives the client for Node: a step on each line of stdin, its outcome on a line of stdout.
// The first line defines the clients. Steps that take more than one call have a function here, with
// the same name in all three drivers.
import { createInterface } from "node:readline";
import { Ilara, IlaraError } from "../../static/clients/ilara.mjs";

const clients = {};
const rejected = [];
const streams = {};
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const onRejected = (event, error) => {
  rejected.push([event.event_id, error.name, error.message, error.details]);
};

const calls = {
  register_player: (client, { external_id, ...fields }) => client.registerPlayer(external_id, fields),
  update_player: (client, { player_id, ...fields }) => client.updatePlayer(player_id, fields),
  get_player: (client, { player_id }) => client.getPlayer(player_id),
  get_player_by_external_id: (client, { external_id }) => client.getPlayerByExternalId(external_id),
  list_players: (client, page) => client.listPlayers(page),
  record_session: (client, { player_id, ...session }) => client.recordSession(player_id, session),
  record_purchase: (client, { player_id, amount, ...purchase }) => (
    client.recordPurchase(player_id, amount, purchase)
  ),
  get_lifecycle: (client, { player_id }) => client.getLifecycle(player_id),
  get_churn_risk: (client, { player_id }) => client.getChurnRisk(player_id),
  link_alias: (client, { player_id, external_id }) => client.linkAlias(player_id, external_id),
  unlink_alias: (client, { player_id, external_id }) => client.unlinkAlias(player_id, external_id),
  track: (client, { player_id, event_name, properties, ...more }) => (
    client.track(player_id, event_name, properties, more)
  ),
  track_now: (client, { event }) => client.trackNow(event),
  track_batch: (client, { events }) => client.trackBatch(events),
  flush: (client, { seconds = 10 }) => client.flush(seconds * 1000),
  close: (client) => client.close(),
  dropped: (client) => client.dropped,
  flag: (client, args) => client.flag(args.key, args.player_id, args.default, args.context),
  evaluate_flag: (client, { key, player_id, at, ...options }) => (
    client.evaluateFlag(key, player_id, { at: at && new Date(at), ...options })
  ),
  evaluate_flags: (client, { player_id, ...options }) => client.evaluateFlags(player_id, options),
  evaluate_segment: (client, { segment_id, player_id }) => (
    client.evaluateSegment(segment_id, player_id)
  ),
  get_player_segments: (client, { player_id }) => client.getPlayerSegments(player_id),

  rejected: (client, { skip = 0 }) => rejected.slice(skip),

  async track_many(client, { player_id, prefix, count, pause: between }) {
    for (let number = 0; number < count; number += 1) {
      client.track(player_id, "step", { n: number }, { event_id: `${prefix}${number}` });
      await sleep(between);
    }
    return count;
  },

  stream_start(client, { name, ...filters }) {
    const gaps = [];
    const stream = client.stream({ ...filters, onGap: (count) => gaps.push(count) });
    const collected = { stream, gaps, ids: [], error: undefined, ended: false };
    streams[name] = collected;
    (async () => {
      try {
        for await (const event of collected.stream) collected.ids.push(event.event_id);
      } catch (error) {
        collected.error = error;
      }
      collected.ended = true;
    })();
    return null;
  },

  // The received ids, once there are `count` of them or after a minute.
  async stream_wait(client, { name, count }) {
    const collected = streams[name];
    const deadline = Date.now() + 60_000;
    while (collected.ids.length < count && Date.now() < deadline) {
      if (collected.error) throw collected.error;
      await sleep(0.02);
    }
    return collected.ids;
  },

  stream_gaps: (client, { name }) => streams[name].gaps,

  // Whether it ended immediately.
  async stream_stop(client, { name }) {
    streams[name].stream.close();
    const deadline = Date.now() + 5_000;
    while (!streams[name].ended && Date.now() < deadline) await sleep(0.02);
    return streams[name].ended;
  },

  async player_ids(client, { page_size }) {
    const ids = [];
    for await (const player of client.iteratePlayers({ pageSize: page_size })) ids.push(player.external_id);
    return ids;
  },

  // The result, and whether it took between `least` and `most` seconds.
  async timed(client, { call, args, least, most }) {
    const started = Date.now();
    const result = await calls[call](client, args);
    const took = (Date.now() - started) / 1000;
    return [result, least <= took && took <= most];
  },
};

// Integers that a number cannot represent become BigInt, independently of the client's code.
const big = /(?<![\d."])(-?\d{16,})(?![\d."])/g;
const read = (text) => JSON.parse(text.replace(big, '"big:$1"'), (_, item) => (
  typeof item === "string" && item.startsWith("big:") ? BigInt(item.slice(4)) : item
));
const write = (value) => JSON.stringify(value, (_, item) => (
  typeof item === "bigint" ? `big:${item}` : item
)).replace(/"big:(-?\d+)"/g, "$1");

const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
// These options are given in seconds.
const DURATIONS = ["timeout", "deadline", "flag_timeout", "flush_interval"];

let ready = false;
for await (const line of createInterface({ input: process.stdin })) {
  const step = read(line);
  if (!ready) {
    for (const [name, key] of Object.entries(step.keys)) {
      const options = Object.fromEntries(Object.entries(step.options[name] ?? {}).map(
        ([option, value]) => [camel(option), DURATIONS.includes(option) ? value * 1000 : value],
      ));
      clients[name] = new Ilara(step.base_url, key, { onRejected, ...options });
    }
    ready = true;
    continue;
  }
  let outcome;
  try {
    const result = await calls[step.call](clients[step.as], step.args);
    outcome = { result: result === undefined ? null : result };
  } catch (error) {
    if (!(error instanceof IlaraError)) throw error;
    const { name, code, status, message, details } = error;
    outcome = { error: { type: name, code, status, message, details } };
  }
  console.log(write(outcome));
}
