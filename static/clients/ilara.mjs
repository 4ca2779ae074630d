/**
 * Ilara for Node 18 and newer, and for browsers. To install, copy this file; it has no dependencies.
 *
 *     import { Ilara } from "./ilara.mjs";
 *     const ilara = new Ilara("http://127.0.0.1:18000/v1", "pk_live_...");
 *     const player = await ilara.registerPlayer("player_123", { attributes: { level: 45 } });
 *     ilara.track(player.id, "level_complete", { level: 45 }); // queued in memory, sent soon
 *     const showsTutorial = await ilara.flag("new_tutorial", player.id, false); // never throws
 *     await ilara.close(); // sends queued events; Node does so too when it exits by itself
 *
 * Call `close()` before `process.exit()`. Calls reject with IlaraError: a subclass for each error code
 * of the API, NetworkError if there is no response. Calls are retried where that is safe, which is
 * almost always: events, sessions and purchases get ids here and count once. Fields have the API's
 * names; an omitted one stays, null clears it. Durations are in milliseconds. Integers that a number
 * cannot represent are BigInt, in both directions.
 *
 * @module
 */

export const VERSION = "0.1.0";

const [FIRST_PAUSE, LONGEST_PAUSE] = [250, 20_000];
const [MAX_BATCH_EVENTS, MAX_BATCH_BYTES] = [1_000, 1_000_000]; // the API takes 1 MiB
const STREAM_SILENCE = 30_000; // a stream sends a heartbeat every ten seconds
const [MAX_SEEN_EVENTS, MAX_LAST_VALUES, MAX_WARNINGS] = [20_000, 10_000, 1_000];
const PLAYER_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const MAX_KEEPALIVE_BYTES = 60_000; // the limit of browsers for pages that are closing
const IN_NODE = typeof process !== "undefined" && Boolean(process.versions?.node);

/**
 * Responses of the API. Times are RFC 3339 strings in UTC.
 * @typedef {Record<string, any>} Data
 * @typedef {"new" | "active" | "at_risk" | "churned" | "reactivated"} Stage
 * @typedef {{id: string, external_id: string, device_id: string | null, email: string | null,
 *   lifecycle_stage: Stage, session_count: number, total_revenue: number, is_payer: boolean,
 *   first_seen_at: string, last_seen_at: string, attributes: Data}} Player
 * @typedef {{player_id: string, lifecycle_stage: Stage, stage_since: string, first_seen_at: string,
 *   last_seen_at: string, days_since_last_seen: number, session_count: number,
 *   next: {stage: Stage, at: string} | null}} Lifecycle
 * @typedef {{player_id: string, risk_score: number, risk_level: "low" | "medium" | "high",
 *   factors: {factor: string, description: string, contribution: number}[],
 *   prediction_date: string, confidence: number, model: string}} ChurnRisk
 * @typedef {{player_id: string, external_id: string, aliases: string[]}} Aliases
 * @typedef {{event_id: string, player_id: string, event_name: string, timestamp: string,
 *   received_at: string, status: "accepted" | "duplicate"}} EventReceipt
 * @typedef {EventReceipt & {session_id: string | null, properties: Data}} StreamedEvent
 * @typedef {{accepted: number, duplicates: number,
 *   rejected: {index: number, code: string, message: string, field: string | null}[],
 *   conflicts: {index: number, field: string}[]}} BatchReceipt
 * A value of null is no value: use the default in your code.
 * @typedef {{flag_key: string, value: any, variant_key: string, reason: string,
 *   segment_id: string | null, receipt?: Data}} FlagEvaluation
 *
 * Parameters of the calls.
 * @typedef {{device_id?: string | null, email?: string | null, attributes?: Data}} PlayerFields
 * @typedef {{session_id?: string, timestamp?: Date | string, event_id?: string}} EventFields
 * @typedef {EventFields & {player_id: string, event_name: string, properties?: Data}} Event
 * @typedef {{context?: Data, explain?: boolean, at?: Date | string}} EvaluationOptions
 */

// --- Errors --------------------------------------------------------------------------------------

/** `status` is 0 without a response; `retryAfter` is set if the response has it. */
export class IlaraError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {number} [status]
   * @param {{details?: {field: string, message: string}[], requestId?: string | null,
   *   retryAfter?: number, cause?: unknown}} [known]
   */
  constructor(code, message, status = 0, { details = [], requestId = null, retryAfter, cause } = {}) {
    super(message, { cause });
    Object.assign(this, { name: new.target.name });
    this.code = code;
    this.status = status;
    this.details = details;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
  }

  /**
   * Whether the same call may succeed later.
   * @returns {boolean}
   */
  get isPassing() {
    return this instanceof NetworkError || this instanceof RateLimitedError
      || this instanceof ServerError || this.status >= 500;
  }
}

/** The request is invalid; `details` name the fields. */
export class ValidationError extends IlaraError {}
/** The key is unknown, expired or revoked, or (status 403) not allowed to make this call. */
export class UnauthorizedError extends IlaraError {}
/** The key's environment has no such player, flag or segment. */
export class NotFoundError extends IlaraError {}
/** The tier's rate limit is exceeded; retry after `retryAfter`. */
export class RateLimitedError extends IlaraError {}
/** An error of the server, or a response that is not from Ilara. */
export class ServerError extends IlaraError {}
/** No response: no connection, or a timeout. */
export class NetworkError extends IlaraError {}

/** @type {Record<string, typeof IlaraError>} */
const ERRORS = {
  VALIDATION_ERROR: ValidationError,
  UNAUTHORIZED: UnauthorizedError,
  NOT_FOUND: NotFoundError,
  RATE_LIMIT_EXCEEDED: RateLimitedError,
  INTERNAL_ERROR: ServerError,
  NETWORK_ERROR: NetworkError,
};

/** @param {ConstructorParameters<typeof IlaraError>} known */
const makeError = (...known) => new (ERRORS[known[0]] ?? IlaraError)(...known);

/**
 * The error of a response. A proxy's own response has no error code of the API.
 * @param {Response} response
 * @param {string} text
 */
function errorOf(response, text) {
  const after = response.headers.get("Retry-After") ?? "";
  const known = {
    requestId: response.headers.get("X-Request-Id"),
    retryAfter: /^\d+$/.test(after) ? Number(after) * 1000 : undefined,
  };
  try {
    const { code, message, details } = parse(text).error;
    if (typeof code !== "string") throw new TypeError("no code");
    return makeError(code, message, response.status, { ...known, details });
  } catch {
    const codes = new Map([[413, "VALIDATION_ERROR"], [429, "RATE_LIMIT_EXCEEDED"]]);
    const message = `HTTP ${response.status}, and the response is not from Ilara. Check the URL.`;
    const code = codes.get(response.status) ?? "INTERNAL_ERROR";
    return makeError(code, message, response.status, known);
  }
}

/**
 * How long to wait after a number of failures. Random, so that clients do not retry in sync.
 * @param {number} failures
 * @param {number} [retryAfter]
 */
export function pause(failures, retryAfter) {
  if (retryAfter !== undefined) return retryAfter + Math.random() * FIRST_PAUSE;
  return Math.random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1));
}

// --- The client ----------------------------------------------------------------------------------

/** A client for the environment that the key belongs to. */
export class Ilara {
  #baseUrl;
  #headers;
  #options;
  #queue;
  /** @type {Map<string, string>} */
  #lastValues = new Map();
  /** @type {Map<string, string>} */
  #warned = new Map();

  /**
   * `timeout` limits one request, `deadline` a call with all its `attempts`; `flagTimeout` limits
   * `flag`, which makes one attempt. Tracked events are sent when `flushAt` of them are queued or the
   * first has been queued for `flushInterval`. At most `maxWaiting` are queued: beyond that the oldest
   * is dropped and counted in `dropped`. `onRejected` is called for each event that the server
   * rejects; the default logs each reason once to the console.
   * @param {string} baseUrl
   * @param {string} apiKey
   * @param {{timeout?: number, deadline?: number, attempts?: number, flagTimeout?: number,
   *   flushAt?: number, flushInterval?: number, maxWaiting?: number,
   *   onRejected?: (event: Event, error: IlaraError) => void}} [options]
   */
  constructor(baseUrl, apiKey, options = {}) {
    if (!/^https?:\/\//.test(baseUrl)) {
      throw new TypeError("baseUrl must begin with http:// or https://");
    }
    if (!/^[!-~]+$/.test(apiKey)) { // an exception from fetch would show the key
      throw new TypeError("apiKey is empty or has an invalid character, such as a line break");
    }
    this.#baseUrl = `${baseUrl.replace(/\/+$/, "").replace(/\/v1$/, "")}/v1`;
    this.#headers = { "X-API-Key": apiKey, ...(IN_NODE && { "User-Agent": `ilara-node/${VERSION}` }) };
    this.#options = {
      timeout: 10_000, deadline: 30_000, attempts: 5, flagTimeout: 1_000,
      flushAt: 100, flushInterval: 1_000, maxWaiting: 10_000, onRejected: this.#logRejected, ...options,
    };
    this.#queue = new Queue((body) => (
      this.#try("POST", "/events/events/batch", body, {}, this.#options.timeout)
    ), this.#options);
    if (IN_NODE) process.once("beforeExit", this.#onExit);
    else globalThis.document?.addEventListener("visibilitychange", this.#onHide);
  }

  /** @type {(event: Event, error: IlaraError) => void} */
  #logRejected = ({ event_id, event_name }, { message }) => this.#warnOnce(
    `rejected: ${message}`,
    `event ${event_name} was rejected, with the id ${event_id}: ${message}`,
  );

  #onExit = () => void this.close();
  #onHide = () => void (document.visibilityState === "hidden" && this.flush());

  // --- Players ---

  /**
   * Create a player, or update the one with this id.
   * @type {(externalId: string, fields?: PlayerFields) => Promise<Player>}
   */
  registerPlayer(externalId, fields = {}) {
    return this.#call("POST", "/players/players", { ...fields, external_id: externalId });
  }

  /**
   * Attributes merge; one that is null is removed.
   * @type {(playerId: string, fields: PlayerFields) => Promise<Player>}
   */
  updatePlayer(playerId, fields) {
    return this.#call("PATCH", ["/players/players/", playerId], fields);
  }

  /** @type {(playerId: string) => Promise<Player>} */
  getPlayer(playerId) {
    return this.#call("GET", ["/players/players/", playerId]);
  }

  /** @type {(externalId: string) => Promise<Player>} */
  getPlayerByExternalId(externalId) {
    return this.#call("GET", ["/players/players/external/", externalId]);
  }

  /**
   * One page of at most 200 players. Requires a secret key.
   * @type {(page?: {limit?: number, cursor?: string | null})
   *   => Promise<{players: Player[], next_cursor: string | null}>}
   */
  listPlayers({ limit = 50, cursor } = {}) {
    return this.#call("GET", "/players/players", undefined, { query: { limit, cursor } });
  }

  /**
   * All players, ordered by id. Requires a secret key.
   * @param {{pageSize?: number}} [options]
   * @returns {AsyncGenerator<Player, void>}
   */
  async *iteratePlayers({ pageSize = 200 } = {}) {
    /** @type {string | null | undefined} */
    let cursor;
    do {
      const page = await this.listPlayers({ limit: pageSize, cursor });
      yield* page.players;
      cursor = page.next_cursor;
    } while (cursor);
  }

  /**
   * Record a session. Each id counts once; if you give none, one is generated.
   * @param {string} playerId
   * @param {{session_id?: string, started_at?: Date | string, duration_seconds?: number}} [session]
   * @returns {Promise<Player>}
   */
  recordSession(playerId, session = {}) {
    const body = { ...session, session_id: session.session_id ?? uuid() };
    return this.#call("POST", ["/players/players/", playerId, "/session"], body);
  }

  /**
   * Record a purchase. Give the store's transaction id: each counts only once, for ever.
   * @param {string} playerId
   * @param {string | number} amount a number is sent as printed: 4.99 as "4.99"
   * @param {{currency?: string, transaction_id?: string, product_id?: string}} [purchase]
   * @returns {Promise<Player>}
   */
  recordPurchase(playerId, amount, purchase = {}) {
    const transaction_id = purchase.transaction_id ?? uuid();
    const body = { ...purchase, amount: String(amount), transaction_id };
    return this.#call("POST", ["/players/players/", playerId, "/purchase"], body);
  }

  /** @type {(playerId: string) => Promise<Lifecycle>} */
  getLifecycle(playerId) {
    return this.#call("GET", ["/players/players/", playerId, "/lifecycle"]);
  }

  /** @type {(playerId: string) => Promise<ChurnRisk>} */
  getChurnRisk(playerId) {
    return this.#call("GET", ["/players/players/", playerId, "/churn-risk"]);
  }

  /**
   * Link a second external id to this player. Requires a secret key.
   * @type {(playerId: string, externalId: string) => Promise<Aliases>}
   */
  linkAlias(playerId, externalId) {
    const body = { external_id: externalId };
    return this.#call("POST", ["/players/players/", playerId, "/aliases"], body);
  }

  /**
   * Requires a secret key. Not retried without a response: a retry would get NOT_FOUND.
   * @type {(playerId: string, externalId: string) => Promise<Aliases>}
   */
  unlinkAlias(playerId, externalId) {
    const path = ["/players/players/", playerId, "/aliases/", externalId];
    return this.#call("DELETE", path, undefined, { repeat: false });
  }

  // --- Events ---

  /**
   * Queue an event and return its id. The default `timestamp` is now. Throws if the event cannot be
   * encoded as JSON.
   * @param {string} playerId
   * @param {string} eventName
   * @param {Data} [properties]
   * @param {EventFields} [more]
   */
  track(playerId, eventName, properties, more = {}) {
    return this.#queue.add(
      complete({ ...more, player_id: playerOf(playerId), event_name: eventName, properties }),
    );
  }

  /**
   * Send one event without the queue.
   * @type {(event: Event) => Promise<EventReceipt>}
   */
  trackNow(event) {
    return this.#call("POST", "/events/events", complete(event), { clock: true });
  }

  /**
   * Send 1 to 1,000 events without the queue; the receipt has a result for each.
   * @type {(events: Event[]) => Promise<BatchReceipt>}
   */
  trackBatch(events) {
    const body = { events: events.map(complete) };
    return this.#call("POST", "/events/events/batch", body, { clock: true });
  }

  /**
   * Stream events as they arrive, from now on or after a `lastId`. Requires a secret key. `onGap` is
   * called with the number of events that this reader was too slow for; the default logs.
   * @param {{after?: string, event_name?: string, player_id?: string,
   *   onGap?: (count: number) => void}} [options]
   */
  stream({ after, onGap = logGap, ...query } = {}) {
    return new EventStream((signal, lastId) => {
      /** @type {Record<string, string>} */
      const headers = lastId === undefined ? {} : { "Last-Event-ID": lastId };
      return this.#open("GET", "/events/events/stream", undefined, { query, headers }, signal);
    }, after, onGap);
  }

  /** How many tracked events were dropped because the queue was full. */
  get dropped() {
    return this.#queue.dropped;
  }

  /** Send queued events. Resolves to how many are still queued: 0 unless it timed out. */
  flush(timeout = 10_000) {
    return this.#queue.flush(timeout);
  }

  /** Flush and stop. Resolves to how many events are lost: 0 unless it timed out. */
  close(timeout = 10_000) {
    if (IN_NODE) process.off("beforeExit", this.#onExit);
    else globalThis.document?.removeEventListener("visibilitychange", this.#onHide);
    return this.#queue.close(timeout);
  }

  // --- Flags and segments ---

  /**
   * The flag's value for the player. Never throws; makes one attempt within `flagTimeout`.
   *
   * While the server is unavailable, returns the last value received for this player, if any. In all
   * other cases, if the player's variant has no value, or if the value's type differs from that of the
   * default, returns the default; a mistake (a wrong key, an unknown flag or player) is logged once.
   * Call it when something loads, not every frame.
   * @template T
   * @param {string} key
   * @param {string} playerId
   * @param {T} defaultValue
   * @param {Data} [context]
   * @returns {Promise<T extends boolean ? boolean : T extends number ? number :
   *   T extends string ? string : T>}
   */
  async flag(key, playerId, defaultValue, context) {
    /** @type {any} */
    let value = defaultValue;
    try {
      const found = await this.#flagValue(key, playerId, context);
      if (found === null) value = defaultValue;
      else if (defaultValue === null || kindOf(found) === kindOf(defaultValue)) value = found;
      else this.#warnOnce(`type of ${key}`, `flag ${key}: using the default, whose type differs from ${write(found)}`);
    } catch (error) { // the game continues whatever the error
      if (!(error instanceof IlaraError && error.isPassing)) {
        // Of a wrong key, one warning is enough for all flags.
        const topic = error instanceof UnauthorizedError ? error.message : `${key}: ${error}`;
        this.#warnOnce(topic, `flag ${key}: using the default: ${error}`);
      }
    }
    return value;
  }

  /** @type {(topic: string, text: string) => void} */
  #warnOnce(topic, text) {
    if (!this.#warned.has(topic)) console.warn(text);
    remember(this.#warned, topic, "", MAX_WARNINGS);
  }

  /** @type {(key: string, playerId: string, context?: Data) => Promise<any>} */
  async #flagValue(key, playerId, context) {
    const place = JSON.stringify([key, playerId]);
    const path = pathOf(["/flags/flags/", key, "/evaluate"]);
    const body = write({ player_id: playerOf(playerId), context });
    try {
      const { value } = await this.#try("POST", path, body, {}, this.#options.flagTimeout);
      remember(this.#lastValues, place, write(value), MAX_LAST_VALUES);
      return value;
    } catch (error) {
      const last = this.#lastValues.get(place);
      if (error instanceof IlaraError && error.isPassing && last !== undefined) return parse(last);
      throw error;
    }
  }

  /**
   * `context` overrides attributes for this call. `explain` and `at` need a secret key.
   * @type {(key: string, playerId: string, options?: EvaluationOptions) => Promise<FlagEvaluation>}
   */
  async evaluateFlag(key, playerId, { context, explain, at } = {}) {
    const query = { explain: explain || undefined, at };
    const path = ["/flags/flags/", key, "/evaluate"];
    return this.#call("POST", path, { player_id: playerOf(playerId), context }, { query });
  }

  /**
   * All flags by key, in one call; use it when the game loads.
   * @type {(playerId: string, options?: EvaluationOptions)
   *   => Promise<Record<string, FlagEvaluation>>}
   */
  async evaluateFlags(playerId, { context, explain, at } = {}) {
    const query = { explain: explain || undefined, at };
    const body = { player_id: playerOf(playerId), context };
    return (await this.#call("POST", "/flags/flags/evaluate", body, { query })).flags;
  }

  /** @type {(segmentId: string, playerId: string) => Promise<boolean>} */
  async evaluateSegment(segmentId, playerId) {
    const path = ["/segments/segments/", segmentId, "/evaluate"];
    return (await this.#call("POST", path, { player_id: playerOf(playerId) })).is_member;
  }

  /**
   * The segments the player is in.
   * @type {(playerId: string) => Promise<{id: string, name: string}[]>}
   */
  async getPlayerSegments(playerId) {
    return (await this.#call("GET", ["/segments/player/", playerId])).segments;
  }

  // --- Requests ---

  /**
   * Try until there is a response. `clock` sends the time, so that the server can correct ours.
   * @param {string} method
   * @param {string | string[]} path
   * @param {Data} [body]
   * @param {{query?: Data, repeat?: boolean, clock?: boolean}} [options]
   * @returns {Promise<any>}
   */
  async #call(method, path, body, { query, repeat = true, clock = false } = {}) {
    const ends = performance.now() + this.#options.deadline;
    for (let attempt = 1; ; attempt += 1) {
      const sent = body && write(clock ? { ...body, sent_at: new Date() } : body);
      const timeout = Math.min(this.#options.timeout, Math.max(ends - performance.now(), 1));
      try {
        return await this.#try(method, pathOf(path), sent, { query }, timeout);
      } catch (error) {
        if (!(error instanceof IlaraError)) throw error;
        const mayRepeat = error.isPassing && (repeat || error instanceof RateLimitedError);
        const wait = pause(attempt, error.retryAfter);
        if (!mayRepeat || attempt >= this.#options.attempts || performance.now() + wait >= ends) throw error;
        await sleep(wait);
      }
    }
  }

  /**
   * One attempt: resolves to the response's data or rejects with IlaraError.
   * @param {string} method
   * @param {string} path
   * @param {string | undefined} body
   * @param {{query?: Data}} options
   * @param {number} timeout
   * @returns {Promise<any>}
   */
  async #try(method, path, body, options, timeout) {
    const response = await this.#open(method, path, body, options, AbortSignal.timeout(timeout));
    const ignored = response.headers.get("X-Ilara-Ignored");
    if (ignored) console.warn(`${method} ${path} ignored unknown fields: ${ignored}`);
    const text = await response.text().catch(throwNetworkError);
    try {
      const { data } = parse(text);
      if (data !== undefined) return data;
    } catch {
      // handled below
    }
    throw errorOf(response, text);
  }

  /**
   * The response, its body not read yet. Rejects with IlaraError unless the status is 2xx.
   * @param {string} method
   * @param {string} path
   * @param {string | undefined} body
   * @param {{query?: Data, headers?: Record<string, string>}} options
   * @param {AbortSignal} signal
   */
  async #open(method, path, body, { query = {}, headers = {} }, signal) {
    const address = new URL(this.#baseUrl + path);
    for (const [name, value] of Object.entries(query)) {
      const text = value instanceof Date ? value.toISOString() : value;
      if (text !== undefined && text !== null) address.searchParams.set(name, text);
    }
    const response = await fetch(address, {
      method,
      headers: { ...this.#headers, ...headers, ...(body && { "Content-Type": "application/json" }) },
      body,
      signal,
      redirect: "manual", // a POST would become a GET
      keepalive: !IN_NODE && body !== undefined && bytesOf(body) < MAX_KEEPALIVE_BYTES,
    }).catch(throwNetworkError);
    if (response.ok) return response;
    throw errorOf(response, await response.text().catch(throwNetworkError));
  }
}

// --- The queue of tracked events -----------------------------------------------------------------

/**
 * Queued events as JSON, oldest first. One batch is sent at a time, which preserves the order. A batch
 * without a response is sent again with the same ids, so events the server has already stored count
 * as duplicates.
 */
class Queue {
  dropped = 0;
  #send;
  #options;
  /** @type {{text: string, due: number}[]} */
  #waiting = [];
  /** @type {string[]} */
  #inFlight = [];
  #flushing = 0; // callers that wait until everything is sent
  #flushRequested = false; // a flush was called since the last failure
  #closed = false;
  #running = false;
  #changed = new AbortController(); // aborted to wake waiting callers and pauses
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {(body: string) => Promise<BatchReceipt>} send
   * @param {{flushAt: number, flushInterval: number, maxWaiting: number,
   *   onRejected: (event: Event, error: IlaraError) => void}} options
   */
  constructor(send, options) {
    this.#send = send;
    this.#options = { ...options, flushAt: Math.min(options.flushAt, options.maxWaiting) };
  }

  /** @param {Event} event */
  add(event) {
    if (this.#closed) throw new Error("this client is closed");
    const { flushInterval, maxWaiting } = this.#options;
    const text = write(event); // throws here instead of later
    if (this.#waiting.length >= maxWaiting) {
      this.#waiting.shift();
      this.dropped += 1;
      if (this.dropped === 1) console.warn(`queue of ${maxWaiting} events is full: dropping the oldest`);
    }
    this.#waiting.push({ text, due: performance.now() + flushInterval });
    this.#start();
    return String(event.event_id);
  }

  /** @param {number} timeout */
  async flush(timeout) {
    this.#flushing += 1;
    this.#flushRequested = true;
    this.#notify();
    this.#start();
    const ends = performance.now() + timeout;
    while (this.#left() && !this.#closed && performance.now() < ends) {
      await sleep(ends - performance.now(), this.#changed.signal);
    }
    this.#flushing -= 1;
    return this.#left();
  }

  /** @param {number} timeout */
  async close(timeout) {
    await this.flush(timeout);
    this.#closed = true;
    this.#notify();
    const left = this.#left();
    if (left) console.warn(`events lost that could not be sent in time: ${left}`);
    return left;
  }

  #left() {
    return this.#waiting.length + this.#inFlight.length;
  }

  /** Start sending, or set a timer for when the first event is due. */
  #start() {
    if (this.#running || this.#closed || !this.#waiting.length) return;
    if (this.#isDue()) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#running = true;
      void this.#run();
    } else if (this.#timer === undefined) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#start();
      }, Math.max(this.#waiting[0].due - performance.now(), 1));
      unref(this.#timer);
    }
  }

  #isDue() {
    const { length } = this.#waiting;
    if (length === 0) return false;
    return length >= this.#options.flushAt || this.#flushing > 0 || this.#waiting[0].due <= performance.now();
  }

  async #run() {
    let failures = 0;
    while (!this.#closed && (this.#inFlight.length || this.#isDue())) {
      if (!this.#inFlight.length) this.#inFlight = this.#take();
      const wait = await this.#sendBatch(this.#inFlight, failures);
      if (wait === undefined) {
        failures = 0;
        this.#inFlight = [];
        this.#notify();
      } else {
        const ends = performance.now() + wait;
        while (!this.#closed && !this.#flushRequested && performance.now() < ends) {
          await sleep(ends - performance.now(), this.#changed.signal, true);
        }
        failures = this.#flushRequested ? 0 : failures + 1;
        this.#flushRequested = false;
      }
    }
    this.#running = false;
    this.#start();
  }

  #take() {
    const batch = [];
    let size = 0;
    while (this.#waiting.length && batch.length < MAX_BATCH_EVENTS) {
      size += bytesOf(this.#waiting[0].text) + 1;
      if (batch.length && size > MAX_BATCH_BYTES) break;
      batch.push(this.#waiting[0].text);
      this.#waiting.shift();
    }
    return batch;
  }

  /**
   * Send a batch. Resolves to the time to wait before sending it again, undefined if it is done.
   * @param {string[]} batch
   * @param {number} failures
   */
  async #sendBatch(batch, failures) {
    try {
      const body = `{"sent_at":${write(new Date())},"events":[${batch.join(",")}]}`;
      for (const { index, code, message, field } of (await this.#send(body)).rejected) {
        const details = field ? [{ field, message }] : [];
        this.#reject(batch[index], makeError(code, message, 200, { details }));
      }
    } catch (error) {
      if (!(error instanceof IlaraError)) return pause(failures + 1); // not a receipt from Ilara
      if (error.isPassing) return pause(failures + 1, error.retryAfter);
      for (const text of batch) this.#reject(text, error);
    }
    return undefined;
  }

  /** @type {(text: string, error: IlaraError) => void} */
  #reject(text, error) {
    try {
      this.#options.onRejected(parse(text), error);
    } catch (fault) {
      console.error("onRejected failed", fault);
    }
  }

  #notify() {
    this.#changed.abort();
    this.#changed = new AbortController();
  }
}

// --- The stream of events ------------------------------------------------------------------------

/**
 * Iterate with `for await`. It reconnects after any interruption, resumes where it was and skips
 * events it has already returned. It ends with the loop, or when `close` is called.
 */
export class EventStream {
  /**
   * The stream's position: pass it as `after` to resume later. Some events may then repeat.
   * @type {string | undefined}
   */
  lastId;
  #open;
  #onGap;
  #closing = new AbortController();
  /** @type {Map<string, string>} */
  #seen = new Map();
  #failures = 0;
  #retry = 3_000; // the server may change it

  /**
   * @param {(signal: AbortSignal, lastId?: string) => Promise<Response>} open
   * @param {string | undefined} after
   * @param {(count: number) => void} onGap
   */
  constructor(open, after, onGap) {
    this.#open = open;
    this.#onGap = onGap;
    this.lastId = after;
  }

  close() {
    this.#closing.abort();
  }

  /** @returns {AsyncGenerator<StreamedEvent, void>} */
  async *[Symbol.asyncIterator]() {
    const closing = this.#closing.signal;
    while (!closing.aborted) {
      let wait;
      try {
        for await (const event of this.#connection()) {
          // Ids are unique per player. A resume repeats a few seconds at most.
          const place = JSON.stringify([event.player_id, event.event_id]);
          if (this.#seen.has(place)) continue;
          remember(this.#seen, place, "", MAX_SEEN_EVENTS);
          yield event;
        }
        wait = pause(1, this.#retry);
      } catch (error) {
        if (closing.aborted) return;
        if (!(error instanceof IlaraError && error.isPassing)) throw error;
        this.#failures += 1;
        wait = pause(this.#failures, error.retryAfter);
      }
      await sleep(wait, closing);
    }
  }

  /**
   * The events of one connection, parsed as server-sent events.
   * @returns {AsyncGenerator<StreamedEvent, void>}
   */
  async *#connection() {
    const connection = new AbortController();
    const abort = () => connection.abort();
    this.#closing.signal.addEventListener("abort", abort);
    let silence = setTimeout(abort, STREAM_SILENCE);
    try {
      const response = await this.#open(connection.signal, this.lastId);
      /** @type {Record<string, string>} */
      let fields = {};
      for await (const line of linesOf(response)) {
        clearTimeout(silence); // the consumer may be slow
        if (line) {
          const [name] = line.split(": ", 1);
          fields[name] = line.slice(name.length + 2);
        } else {
          this.#failures = 0;
          this.lastId = fields.id ?? this.lastId;
          if (fields.retry) this.#retry = Number(fields.retry);
          if (fields.event === "gap") this.#onGap(parse(fields.data).count);
          else if (fields.data) yield parse(fields.data);
          fields = {};
        }
        silence = setTimeout(abort, STREAM_SILENCE);
      }
    } finally {
      clearTimeout(silence);
      this.#closing.signal.removeEventListener("abort", abort);
      connection.abort();
    }
  }
}

/** @type {(response: Response) => AsyncGenerator<string, void>} */
async function* linesOf(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(throwNetworkError);
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split(/\r?\n/);
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

// --- Helpers -------------------------------------------------------------------------------------

/**
 * The event with a fixed id and time, so that sending it again changes nothing.
 * @param {Event} event
 * @returns {Event}
 */
function complete(event) {
  return { ...event, event_id: event.event_id ?? uuid(), timestamp: event.timestamp ?? new Date() };
}

/**
 * The id of a player, checked here: a mistake is easier to find where it was made.
 * @type {(playerId: string) => string}
 */
function playerOf(playerId) {
  if (PLAYER_ID.test(playerId)) return playerId;
  throw new ValidationError("VALIDATION_ERROR", "player_id must be the id that registration returned, "
    + `a UUID, not '${playerId}'. Is it the external id?`);
}

/**
 * A path from fixed parts alternating with ids.
 * @param {string | string[]} parts
 */
function pathOf(parts) {
  if (typeof parts === "string") return parts;
  return parts.map((part, index) => {
    if (index % 2 === 0) return part;
    if (["/players/players/", "/segments/player/"].includes(parts[index - 1])) playerOf(part);
    if (["", ".", ".."].includes(part)) { // would be another path
      throw new ValidationError("VALIDATION_ERROR", "An id must not be empty, '.' or '..'");
    }
    return encodeURIComponent(part);
  }).join("");
}

/** A random UUID. `crypto.randomUUID` is missing on pages served without HTTPS. */
function uuid() {
  const bytes = new Uint8Array(16);
  if (globalThis.crypto) crypto.getRandomValues(bytes);
  else bytes.forEach((_, index) => { bytes[index] = Math.random() * 256; }); // Node 18
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const text = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return text.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}

/** @type {(text: string) => number} */
const bytesOf = (text) => new TextEncoder().encode(text).length;

// Integers that a number cannot represent pass through JSON as strings that begin with NUL, which the
// API rejects and never sends.

/**
 * Lone surrogates, as left by cutting a string, are replaced: one would fail a whole batch.
 * @type {(value: unknown) => string}
 */
function write(value) {
  return JSON.stringify(value, (_, item) => {
    if (typeof item === "number" && !Number.isFinite(item)) {
      throw new TypeError("NaN and Infinity cannot be sent");
    }
    return typeof item === "bigint" ? `\0${item}` : item;
  }).replace(/"\\u0000(-?\d+)"(?!:)/g, "$1")
    .replace(/\\(ud[89a-f]..|.)/g, (escape) => (escape.length > 2 ? "\ufffd" : escape));
}

const TEXT_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** @type {(text: string) => any} */
function parse(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const marked = text.replace(TEXT_OR_NUMBER, (token) => (
    /^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"\\u0000${token}"` : token
  ));
  return JSON.parse(marked, (_, item) => (
    typeof item === "string" && item.startsWith("\0") ? BigInt(item.slice(1)) : item
  ));
}

/**
 * @param {number} duration
 * @param {AbortSignal} [signal] ends it early
 * @param {boolean} [idle] whether the process may exit during the sleep
 */
function sleep(duration, signal, idle = false) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve(undefined);
    };
    const timer = setTimeout(done, duration);
    if (idle) unref(timer);
    signal?.addEventListener("abort", done);
    if (signal?.aborted) done();
  });
}

/** @type {(value: any) => string} */
function kindOf(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value;
}

/** @type {(memory: Map<string, string>, key: string, value: string, most: number) => void} */
function remember(memory, key, value, most) {
  memory.delete(key);
  memory.set(key, value);
  if (memory.size > most) memory.delete(/** @type {string} */ (memory.keys().next().value));
}

/** @type {(fault: any) => never} */
function throwNetworkError(fault) {
  const reason = fault?.cause?.message || fault?.message || String(fault);
  throw new NetworkError("NETWORK_ERROR", reason, 0, { cause: fault });
}

/** @type {(timer: any) => void} */
function unref(timer) {
  timer.unref?.(); // in browsers it is a number
}

/** @type {(count: number) => void} */
function logGap(count) {
  console.warn(`the stream skipped ${count} events: this reader is too slow`);
}
