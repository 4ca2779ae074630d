// Package ilara is a client for Ilara, for Go 1.18 and newer. To install, copy this file into a
// folder "ilara" of your module; it needs only the standard library.
//
//	client, err := ilara.New("http://127.0.0.1:18000/v1", "pk_live_...", ilara.Options{})
//	defer client.Close(ctx) // sends queued events
//	player, err := client.RegisterPlayer(ctx, "player_123", ilara.PlayerFields{})
//	client.Track(ilara.Event{PlayerID: player.ID, EventName: "level_complete"}) // sent soon
//	showsTutorial := ilara.Flag(ctx, client, "new_tutorial", player.ID, false)  // never fails
//
// One client serves all goroutines. Calls return an *Error: test its code with
// errors.Is(err, ilara.ErrNotFound) and its siblings. Calls are retried where that is safe, which is
// almost always: events, sessions and purchases get ids here and count once.
package ilara

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const Version = "0.1.0"

const (
	firstPause       = 250 * time.Millisecond
	longestPause     = 20 * time.Second
	maxBatchEvents   = 1_000
	maxBatchBytes    = 1_000_000        // the API takes 1 MiB
	streamSilence    = 30 * time.Second // a stream sends a heartbeat every ten seconds
	rememberedEvents = 20_000
	rememberedFlags  = 10_000
)

// --- Requests and responses of the API -----------------------------------------------------------

// A Player as the API returns it. Numbers among the attributes are json.Number, so that large ids
// keep their precision.
type Player struct {
	ID             string         `json:"id"`
	ExternalID     string         `json:"external_id"`
	DeviceID       *string        `json:"device_id"`
	Email          *string        `json:"email"`           // masked for public keys
	LifecycleStage string         `json:"lifecycle_stage"` // new, active, at_risk, churned, reactivated
	SessionCount   int            `json:"session_count"`
	TotalRevenue   json.Number    `json:"total_revenue"`
	IsPayer        bool           `json:"is_payer"`
	FirstSeenAt    time.Time      `json:"first_seen_at"`
	LastSeenAt     time.Time      `json:"last_seen_at"`
	Attributes     map[string]any `json:"attributes"`
}

// PlayerFields are the settable fields: nil leaves a string unchanged, Null clears it. Attributes
// merge; one that is nil is removed.
type PlayerFields struct {
	DeviceID   *string
	Email      *string
	Attributes map[string]any
}

// Null clears a string of PlayerFields.
var Null = new(string)

// PlayerPage is a page of players. NextCursor is empty on the last page.
type PlayerPage struct {
	Players    []Player `json:"players"`
	NextCursor string   `json:"next_cursor"`
}

// Session describes a session. Each ID counts once; if you give none, one is generated.
type Session struct {
	ID              string
	StartedAt       time.Time
	DurationSeconds int
}

// Purchase describes a purchase. Give the store's TransactionID: each counts only once, for ever. The
// amount is a string like "4.99": a float would lose cents.
type Purchase struct {
	Amount        string `json:"amount"`
	Currency      string `json:"currency,omitempty"`
	TransactionID string `json:"transaction_id"`
	ProductID     string `json:"product_id,omitempty"`
}

type Lifecycle struct {
	PlayerID          string    `json:"player_id"`
	LifecycleStage    string    `json:"lifecycle_stage"`
	StageSince        time.Time `json:"stage_since"`
	FirstSeenAt       time.Time `json:"first_seen_at"`
	LastSeenAt        time.Time `json:"last_seen_at"`
	DaysSinceLastSeen int       `json:"days_since_last_seen"`
	SessionCount      int       `json:"session_count"`
	Next              *struct {
		Stage string    `json:"stage"`
		At    time.Time `json:"at"`
	} `json:"next"`
}

type ChurnRisk struct {
	PlayerID  string  `json:"player_id"`
	RiskScore float64 `json:"risk_score"` // 0 to 1
	RiskLevel string  `json:"risk_level"` // low, medium, high
	Factors   []struct {
		Factor       string  `json:"factor"`
		Description  string  `json:"description"`
		Contribution float64 `json:"contribution"`
	} `json:"factors"`
	PredictionDate time.Time `json:"prediction_date"`
	Confidence     float64   `json:"confidence"`
	Model          string    `json:"model"`
}

type Aliases struct {
	PlayerID   string   `json:"player_id"`
	ExternalID string   `json:"external_id"`
	Aliases    []string `json:"aliases"`
}

// An Event to send. The default EventID is generated, the default Timestamp is now.
type Event struct {
	PlayerID   string         `json:"player_id"`
	EventName  string         `json:"event_name"`
	Properties map[string]any `json:"properties,omitempty"`
	SessionID  string         `json:"session_id,omitempty"`
	Timestamp  time.Time      `json:"timestamp"`
	EventID    string         `json:"event_id"`
}

type EventReceipt struct {
	EventID    string    `json:"event_id"`
	PlayerID   string    `json:"player_id"`
	EventName  string    `json:"event_name"`
	Timestamp  time.Time `json:"timestamp"`
	ReceivedAt time.Time `json:"received_at"`
	Status     string    `json:"status"` // accepted, duplicate
}

type StreamedEvent struct {
	EventReceipt
	SessionID  *string        `json:"session_id"`
	Properties map[string]any `json:"properties"`
}

// BatchReceipt has a result for each event of a batch.
type BatchReceipt struct {
	Accepted   int         `json:"accepted"`
	Duplicates int         `json:"duplicates"`
	Rejected   []Rejection `json:"rejected"`
	Conflicts  []Conflict  `json:"conflicts"`
}

// Conflict names a field of a repeated event that differs from the event stored first, which counts.
type Conflict struct {
	Index int    `json:"index"`
	Field string `json:"field"`
}

type Rejection struct {
	Index   int     `json:"index"`
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Field   *string `json:"field"`
}

// EvaluationOptions: Context overrides attributes for this call; Explain and At require a secret key.
type EvaluationOptions struct {
	Context map[string]any
	Explain bool
	At      time.Time
}

type FlagEvaluation struct {
	FlagKey    string          `json:"flag_key"`
	Value      json.RawMessage `json:"value"` // null: no value, use the default in your code
	VariantKey string          `json:"variant_key"`
	Reason     string          `json:"reason"`
	SegmentID  *string         `json:"segment_id"`
	Receipt    json.RawMessage `json:"receipt,omitempty"` // if called with Explain
}

type SegmentSummary struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// --- Errors --------------------------------------------------------------------------------------

// Error is returned by failed calls. Status is 0 without a response; RetryAfter is 0 unless the
// response has it.
type Error struct {
	Code       string
	Message    string
	Details    []Detail
	Status     int
	RequestID  string
	RetryAfter time.Duration
	cause      error
}

// Detail locates an error in the request.
type Detail struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// For errors.Is: the error codes of the API, and ErrNetwork if there is no response in time.
var (
	ErrValidation   = &Error{Code: "VALIDATION_ERROR"}    // the request is invalid
	ErrUnauthorized = &Error{Code: "UNAUTHORIZED"}        // the key is invalid or may not make this call
	ErrNotFound     = &Error{Code: "NOT_FOUND"}           // no such player, flag or segment
	ErrRateLimited  = &Error{Code: "RATE_LIMIT_EXCEEDED"} // the tier's rate limit is exceeded
	ErrServer       = &Error{Code: "INTERNAL_ERROR"}      // a server error, or a response not from Ilara
	ErrNetwork      = &Error{Code: "NETWORK_ERROR"}
)

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func (e *Error) Unwrap() error { return e.cause }

// Is compares codes with the variables above.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Message == "" && other.Code == e.Code
}

// IsPassing reports whether the same call may succeed later.
func (e *Error) IsPassing() bool {
	return e.Is(ErrNetwork) || e.Is(ErrRateLimited) || e.Is(ErrServer) || e.Status >= 500
}

func networkError(cause error) *Error {
	return &Error{Code: ErrNetwork.Code, Message: cause.Error(), cause: cause}
}

// errorOf returns the error of a response. A proxy's own response has no error code of the API.
func errorOf(response *http.Response, body []byte) *Error {
	found := &Error{Status: response.StatusCode, RequestID: response.Header.Get("X-Request-Id")}
	if seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 31); err == nil {
		found.RetryAfter = time.Duration(seconds) * time.Second
	}
	var reply struct {
		Error struct {
			Code, Message string
			Details       []Detail
		}
	}
	if json.Unmarshal(body, &reply) == nil && reply.Error.Code != "" {
		found.Code, found.Message = reply.Error.Code, reply.Error.Message
		found.Details = reply.Error.Details
		return found
	}
	switch response.StatusCode {
	case http.StatusRequestEntityTooLarge:
		found.Code = ErrValidation.Code
	case http.StatusTooManyRequests:
		found.Code = ErrRateLimited.Code
	default:
		found.Code = ErrServer.Code
	}
	found.Message = fmt.Sprintf(
		"HTTP %d, and the response is not from Ilara. Check the base URL.", response.StatusCode)
	return found
}

// pause is the time to wait after a number of failures. Random, so that clients do not retry in sync.
func pause(failures int, retryAfter time.Duration) time.Duration {
	if retryAfter > 0 {
		return retryAfter + chance(firstPause)
	}
	longest := float64(firstPause) * math.Pow(2, float64(failures-1))
	return chance(time.Duration(math.Min(longest, float64(longestPause))))
}

func chance(below time.Duration) time.Duration {
	number, err := rand.Int(rand.Reader, big.NewInt(int64(below)))
	if err != nil {
		return below
	}
	return time.Duration(number.Int64())
}

// --- The client ----------------------------------------------------------------------------------

// Options of a client; zero values select the defaults.
type Options struct {
	Timeout       time.Duration // of one request, 10 s
	Deadline      time.Duration // of a call with all its attempts, 30 s
	Attempts      int           // 5
	FlagTimeout   time.Duration // of Flag, which makes one attempt, 1 s
	FlushAt       int           // events are sent when this many are queued, 100,
	FlushInterval time.Duration // or the first has been queued this long, 1 s
	MaxWaiting    int           // beyond it the oldest event is dropped and counted, 10,000

	// OnRejected is called for each event that the server rejects; the default logs each reason once.
	OnRejected func(event Event, err *Error)
}

// Client of the environment that its key belongs to.
type Client struct {
	baseURL, apiKey string
	options         Options
	http            *http.Client
	queue           *queue

	mutex      sync.Mutex
	goodValues memory[json.RawMessage]
	warned     memory[bool]
}

// New creates a client. Close it when the program ends.
func New(baseURL, apiKey string, options Options) (*Client, error) {
	if !strings.HasPrefix(baseURL, "http://") && !strings.HasPrefix(baseURL, "https://") {
		return nil, errors.New("ilara: the base URL must begin with http:// or https://")
	}
	isForeign := func(character rune) bool { return character <= ' ' || character > '~' }
	if apiKey == "" || strings.IndexFunc(apiKey, isForeign) >= 0 {
		return nil, errors.New(
			"ilara: the key is empty or has an invalid character, such as a line break")
	}
	setDefault(&options.Timeout, 10*time.Second)
	setDefault(&options.Deadline, 30*time.Second)
	setDefault(&options.Attempts, 5)
	setDefault(&options.FlagTimeout, time.Second)
	setDefault(&options.FlushAt, 100)
	setDefault(&options.FlushInterval, time.Second)
	setDefault(&options.MaxWaiting, 10_000)
	client := &Client{
		baseURL: strings.TrimSuffix(strings.TrimRight(baseURL, "/"), "/v1") + "/v1",
		apiKey:  apiKey,
		options: options,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: options.Timeout}).DialContext,
				Proxy:               http.ProxyFromEnvironment,
				ForceAttemptHTTP2:   true,
				MaxIdleConnsPerHost: 50,
				IdleConnTimeout:     90 * time.Second,
			},
			// A POST would become a GET.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		goodValues: memory[json.RawMessage]{most: rememberedFlags},
		warned:     memory[bool]{most: rememberedFlags},
	}
	if options.OnRejected == nil {
		client.options.OnRejected = client.logRejected
	}
	client.queue = &queue{
		client: client,
		wake:   make(chan struct{}, 1),
		hurry:  make(chan struct{}, 1),
		ended:  make(chan struct{}),
	}
	return client, nil
}

// RegisterPlayer creates a player, or updates the one with this id.
func (c *Client) RegisterPlayer(
	ctx context.Context, externalID string, fields PlayerFields,
) (*Player, error) {
	body := fields.body()
	body["external_id"] = externalID
	return call[*Player](ctx, c, "POST", path("/players/players"), body)
}

// UpdatePlayer changes the given fields.
func (c *Client) UpdatePlayer(
	ctx context.Context, playerID string, fields PlayerFields,
) (*Player, error) {
	return call[*Player](ctx, c, "PATCH", path("/players/players/", playerID), fields.body())
}

func (c *Client) GetPlayer(ctx context.Context, playerID string) (*Player, error) {
	return call[*Player](ctx, c, "GET", path("/players/players/", playerID), nil)
}

func (c *Client) GetPlayerByExternalID(ctx context.Context, externalID string) (*Player, error) {
	return call[*Player](ctx, c, "GET", path("/players/players/external/", externalID), nil)
}

// ListPlayers returns a page of 1 to 200 players, the first for an empty cursor. Requires a secret key.
func (c *Client) ListPlayers(ctx context.Context, limit int, cursor string) (*PlayerPage, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		query.Set("cursor", cursor)
	}
	return call[*PlayerPage](ctx, c, "GET", path("/players/players?"+query.Encode()), nil)
}

// EachPlayer calls visit for all players, ordered by id, until it returns an error. Requires a secret
// key.
func (c *Client) EachPlayer(ctx context.Context, pageSize int, visit func(Player) error) error {
	for cursor := ""; ; {
		page, err := c.ListPlayers(ctx, pageSize, cursor)
		if err != nil {
			return err
		}
		for _, player := range page.Players {
			if err := visit(player); err != nil {
				return err
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return nil
		}
	}
}

// RecordSession records a session.
func (c *Client) RecordSession(
	ctx context.Context, playerID string, session Session,
) (*Player, error) {
	body := map[string]any{"session_id": orNewID(session.ID)}
	if !session.StartedAt.IsZero() {
		body["started_at"] = session.StartedAt
	}
	if session.DurationSeconds != 0 {
		body["duration_seconds"] = session.DurationSeconds
	}
	return call[*Player](ctx, c, "POST", path("/players/players/", playerID, "/session"), body)
}

// RecordPurchase records a purchase.
func (c *Client) RecordPurchase(
	ctx context.Context, playerID string, purchase Purchase,
) (*Player, error) {
	purchase.TransactionID = orNewID(purchase.TransactionID)
	return call[*Player](ctx, c, "POST", path("/players/players/", playerID, "/purchase"), purchase)
}

func (c *Client) GetLifecycle(ctx context.Context, playerID string) (*Lifecycle, error) {
	return call[*Lifecycle](ctx, c, "GET", path("/players/players/", playerID, "/lifecycle"), nil)
}

func (c *Client) GetChurnRisk(ctx context.Context, playerID string) (*ChurnRisk, error) {
	return call[*ChurnRisk](ctx, c, "GET", path("/players/players/", playerID, "/churn-risk"), nil)
}

// LinkAlias links a second external id to this player. Requires a secret key.
func (c *Client) LinkAlias(ctx context.Context, playerID, externalID string) (*Aliases, error) {
	body := map[string]any{"external_id": externalID}
	return call[*Aliases](ctx, c, "POST", path("/players/players/", playerID, "/aliases"), body)
}

// UnlinkAlias requires a secret key. It is not retried without a response: a retry would get
// NOT_FOUND.
func (c *Client) UnlinkAlias(ctx context.Context, playerID, externalID string) (*Aliases, error) {
	to := path("/players/players/", playerID, "/aliases/", externalID)
	return call[*Aliases](ctx, c, "DELETE", to, nil)
}

// --- Events ---

// Track queues an event and returns its id. It fails if the event cannot be encoded as JSON, its
// PlayerID is not the id of a player, or the client is closed.
func (c *Client) Track(event Event) (string, error) {
	if err := checkPlayer(event.PlayerID); err != nil {
		return "", err
	}
	event.complete()
	return event.EventID, c.queue.add(event)
}

// TrackNow sends one event without the queue.
func (c *Client) TrackNow(ctx context.Context, event Event) (*EventReceipt, error) {
	event.complete()
	return call[*EventReceipt](ctx, c, "POST", path("/events/events"), func() any {
		return struct {
			Event
			SentAt time.Time `json:"sent_at"`
		}{event, time.Now()}
	})
}

// TrackBatch sends 1 to 1,000 events without the queue.
func (c *Client) TrackBatch(ctx context.Context, events []Event) (*BatchReceipt, error) {
	events = append([]Event(nil), events...)
	for index := range events {
		events[index].complete()
	}
	return call[*BatchReceipt](ctx, c, "POST", path("/events/events/batch"), func() any {
		return map[string]any{"sent_at": time.Now(), "events": events}
	})
}

// Dropped is the number of tracked events dropped because the queue was full.
func (c *Client) Dropped() int {
	c.queue.mutex.Lock()
	defer c.queue.mutex.Unlock()
	return c.queue.dropped
}

// Flush sends queued events. If the context ends first, the error has the number still queued.
func (c *Client) Flush(ctx context.Context) error { return c.queue.flush(ctx) }

// Close flushes and stops. If the context ends, or ten seconds pass, the error has the number of lost
// events. After a signal, pass a context that the signal has not cancelled.
func (c *Client) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := c.queue.flush(ctx)
	c.queue.close()
	c.http.CloseIdleConnections()
	return err
}

// --- Flags and segments ---

// Flag returns the flag's value for the player. It never fails; it makes one attempt within FlagTimeout.
//
// While the server is unavailable, it returns the last value received for this player, if any. In all
// other cases, if the player's variant has no value, or if the value does not fit the type of fallback, it
// returns fallback; a mistake (a wrong key, an unknown flag or player) is logged once. Call it when
// something loads, not every frame. Attributes can be overridden for this call.
func Flag[T any](
	ctx context.Context, c *Client, key, playerID string, fallback T, overrides ...map[string]any,
) T {
	raw, err := c.flagValue(ctx, key, playerID, overrides)
	if err != nil {
		if !err.IsPassing() {
			topic := key + ": " + err.Error()
			if err.Is(ErrUnauthorized) {
				topic = err.Error() // of a wrong key, one warning is enough for all flags
			}
			c.warnOnce(topic, fmt.Sprintf("flag %s: using the default: %s", key, err))
		}
		return fallback
	}
	if string(raw) == "null" {
		return fallback
	}
	var value T
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		c.warnOnce("type of "+key,
			fmt.Sprintf("flag %s: using the default, whose type differs from %s", key, raw))
		return fallback
	}
	return value
}

// warnOnce logs the text if it is the first on its topic.
func (c *Client) warnOnce(topic, text string) {
	c.mutex.Lock()
	known := c.warned.values[topic]
	c.warned.put(topic, true)
	c.mutex.Unlock()
	if !known {
		log.Print("ilara: " + text)
	}
}

func (c *Client) flagValue(
	ctx context.Context, key, playerID string, overrides []map[string]any,
) (json.RawMessage, *Error) {
	if err := checkPlayer(playerID); err != nil {
		return nil, err
	}
	body := map[string]any{"player_id": playerID}
	for _, attributes := range overrides {
		body["context"] = attributes
	}
	place := key + "\x00" + playerID
	var found FlagEvaluation
	err := c.try(ctx, "POST", path("/flags/flags/", key, "/evaluate"), body, &found,
		c.options.FlagTimeout)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if err == nil {
		c.goodValues.put(place, found.Value)
		return found.Value, nil
	}
	if value, ok := c.goodValues.values[place]; ok && err.IsPassing() {
		return value, nil
	}
	return nil, err
}

// EvaluateFlag returns the value and the reason.
func (c *Client) EvaluateFlag(
	ctx context.Context, key, playerID string, options EvaluationOptions,
) (*FlagEvaluation, error) {
	to, body := options.request(path("/flags/flags/", key, "/evaluate"), playerID)
	return call[*FlagEvaluation](ctx, c, "POST", to, body)
}

// EvaluateFlags returns all flags by key, in one call; use it when the game loads.
func (c *Client) EvaluateFlags(
	ctx context.Context, playerID string, options EvaluationOptions,
) (map[string]FlagEvaluation, error) {
	to, body := options.request(path("/flags/flags/evaluate"), playerID)
	found, err := call[struct{ Flags map[string]FlagEvaluation }](ctx, c, "POST", to, body)
	return found.Flags, err
}

// EvaluateSegment reports whether the player is in the segment.
func (c *Client) EvaluateSegment(ctx context.Context, segmentID, playerID string) (bool, error) {
	if err := checkPlayer(playerID); err != nil {
		return false, err
	}
	body := map[string]any{"player_id": playerID}
	to := path("/segments/segments/", segmentID, "/evaluate")
	found, err := call[struct {
		IsMember bool `json:"is_member"`
	}](ctx, c, "POST", to, body)
	return found.IsMember, err
}

// GetPlayerSegments returns the segments the player is in.
func (c *Client) GetPlayerSegments(
	ctx context.Context, playerID string,
) ([]SegmentSummary, error) {
	to := path("/segments/player/", playerID)
	found, err := call[struct{ Segments []SegmentSummary }](ctx, c, "GET", to, nil)
	return found.Segments, err
}

// --- Requests ---

// call tries until there is a response. A body that is a func() any is built for each attempt: it
// holds the time, so that the server can correct the client's clock.
func call[T any](ctx context.Context, c *Client, method string, to place, body any) (T, error) {
	var data, nothing T
	ctx, cancel := context.WithTimeout(ctx, c.options.Deadline)
	defer cancel()
	for attempt := 1; ; attempt++ {
		sent := body
		if fresh, ok := body.(func() any); ok {
			sent = fresh()
		}
		err := c.try(ctx, method, to, sent, &data, c.options.Timeout)
		if err == nil {
			return data, nil
		}
		mayRepeat := err.IsPassing() && (method != "DELETE" || err.Is(ErrRateLimited))
		wait := pause(attempt, err.RetryAfter)
		ends, _ := ctx.Deadline()
		if !mayRepeat || attempt >= c.options.Attempts || time.Now().Add(wait).After(ends) {
			return nothing, err
		}
		if !sleep(ctx, wait) {
			return nothing, networkError(ctx.Err())
		}
	}
}

// try makes one attempt and decodes the response's data into data.
func (c *Client) try(
	ctx context.Context, method string, to place, body, data any, timeout time.Duration,
) *Error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	response, failure := c.open(ctx, method, to, body, "")
	if failure != nil {
		return failure
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return networkError(err)
	}
	var envelope struct{ Data json.RawMessage }
	if json.Unmarshal(text, &envelope) != nil || envelope.Data == nil {
		return errorOf(response, text)
	}
	decoder := json.NewDecoder(bytes.NewReader(envelope.Data))
	decoder.UseNumber()
	if decoder.Decode(data) != nil {
		return errorOf(response, text)
	}
	return nil
}

// open returns the response, its body not read yet, if its status is 2xx.
func (c *Client) open(
	ctx context.Context, method string, to place, body any, lastEventID string,
) (*http.Response, *Error) {
	if to.err != nil {
		return nil, to.err
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, &Error{Code: ErrValidation.Code, Message: err.Error(), cause: err}
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.baseURL+to.path, content)
	if err != nil {
		return nil, &Error{Code: ErrValidation.Code, Message: err.Error(), cause: err}
	}
	request.Header.Set("X-API-Key", c.apiKey)
	request.Header.Set("User-Agent", "ilara-go/"+Version)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if lastEventID != "" {
		request.Header.Set("Last-Event-ID", lastEventID)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, networkError(err)
	}
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, networkError(err)
	}
	return nil, errorOf(response, text)
}

// --- The queue of tracked events -----------------------------------------------------------------

// queue holds events to send, oldest first. A goroutine sends one batch at a time, which preserves the
// order. A batch without a response is sent again with the same ids, so events the server has already
// stored count as duplicates.
type queue struct {
	client *Client
	start  sync.Once
	wake   chan struct{} // the queue has changed
	hurry  chan struct{} // a flush was called: ends a pause after a failure
	ended  chan struct{} // closed at the end

	mutex    sync.Mutex
	waiting  []queued
	inFlight []queued
	flushes  []chan struct{} // closed when nothing is left
	dropped  int
	closed   bool
}

type queued struct {
	event Event
	text  json.RawMessage // encoded when it was tracked
	due   time.Time
}

func (q *queue) add(event Event) error {
	text, err := json.Marshal(event)
	if err != nil {
		return err
	}
	options := q.client.options
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if q.closed {
		return errors.New("ilara: this client is closed")
	}
	if len(q.waiting) >= options.MaxWaiting {
		q.waiting = q.waiting[1:]
		q.dropped++
		if q.dropped == 1 {
			log.Printf("ilara: queue of %d events is full: dropping the oldest", options.MaxWaiting)
		}
	}
	q.waiting = append(q.waiting, queued{event, text, time.Now().Add(options.FlushInterval)})
	q.start.Do(func() { go q.run() })
	if len(q.waiting) == 1 || q.isFull() {
		nudge(q.wake)
	}
	return nil
}

func (q *queue) isFull() bool {
	options := q.client.options
	return len(q.waiting) >= options.FlushAt || len(q.waiting) >= options.MaxWaiting
}

func nudge(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

func (q *queue) flush(ctx context.Context) error {
	done := make(chan struct{})
	q.mutex.Lock()
	q.flushes = append(q.flushes, done)
	q.wakeIfEmpty()
	q.mutex.Unlock()
	nudge(q.wake)
	nudge(q.hurry)
	select {
	case <-done:
		return nil
	case <-q.ended:
	case <-ctx.Done():
	}
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if left := len(q.waiting) + len(q.inFlight); left > 0 {
		return fmt.Errorf("ilara: %d events are not sent", left)
	}
	return nil
}

// wakeIfEmpty wakes callers that wait for a flush. The mutex is held.
func (q *queue) wakeIfEmpty() {
	if len(q.waiting)+len(q.inFlight) > 0 {
		return
	}
	for _, done := range q.flushes {
		close(done)
	}
	q.flushes = nil
}

func (q *queue) close() {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if !q.closed {
		q.closed = true
		close(q.ended)
	}
}

func (q *queue) run() {
	failures := 0
	for {
		batch := q.next()
		if batch == nil {
			return
		}
		if err := q.send(batch); err != nil {
			failures++
			select {
			case <-time.After(pause(failures, err.RetryAfter)):
			case <-q.hurry:
				failures = 0
			case <-q.ended:
				return
			}
			continue
		}
		failures = 0
		q.mutex.Lock()
		q.inFlight = nil
		q.wakeIfEmpty()
		q.mutex.Unlock()
	}
}

// next returns the failed batch, else the queued events when due; empty when closed.
func (q *queue) next() []queued {
	for {
		left := time.Hour
		q.mutex.Lock()
		if q.closed {
			q.mutex.Unlock()
			return nil
		}
		if len(q.inFlight) == 0 && len(q.waiting) > 0 {
			left = time.Until(q.waiting[0].due)
			if q.isFull() || len(q.flushes) > 0 || left <= 0 {
				q.take()
			}
		}
		batch := q.inFlight
		q.mutex.Unlock()
		if len(batch) > 0 {
			return batch
		}
		timer := time.NewTimer(left)
		select {
		case <-q.wake:
		case <-timer.C:
		case <-q.ended:
			return nil
		}
		timer.Stop()
	}
}

func (q *queue) take() {
	count, size := 0, 0
	for count < len(q.waiting) && count < maxBatchEvents {
		size += len(q.waiting[count].text) + 1
		if count > 0 && size > maxBatchBytes {
			break
		}
		count++
	}
	q.inFlight = append([]queued(nil), q.waiting[:count]...)
	q.waiting = append([]queued(nil), q.waiting[count:]...)
}

// send returns an error if the batch has to be sent again.
func (q *queue) send(batch []queued) *Error {
	events := make([]json.RawMessage, len(batch))
	for index, item := range batch {
		events[index] = item.text
	}
	body := map[string]any{"sent_at": time.Now(), "events": events}
	var receipt BatchReceipt
	err := q.client.try(context.Background(), "POST", path("/events/events/batch"), body, &receipt,
		q.client.options.Timeout)
	if err != nil {
		if err.IsPassing() {
			return err
		}
		for _, item := range batch {
			q.client.options.OnRejected(item.event, err)
		}
		return nil
	}
	for _, item := range receipt.Rejected {
		reason := &Error{Code: item.Code, Message: item.Message, Status: http.StatusOK}
		if item.Field != nil {
			reason.Details = []Detail{{*item.Field, item.Message}}
		}
		if item.Index < len(batch) {
			q.client.options.OnRejected(batch[item.Index].event, reason)
		}
	}
	return nil
}

// --- The stream of events ------------------------------------------------------------------------

// StreamOptions set the start of a stream and its filters.
type StreamOptions struct {
	After     string // an id from OnID; by default the stream starts now
	EventName string
	PlayerID  string
	OnID      func(id string)   // called with the position up to which all events are handled
	OnGap     func(count int64) // called with the number of events that a slow handle missed; the default logs
}

// Stream calls handle for events as they arrive. It reconnects after any interruption, resumes where it
// was and skips events it has already delivered. It ends with the error of handle, when the context
// ends, or when the server refuses. Requires a secret key.
func (c *Client) Stream(
	ctx context.Context, options StreamOptions, handle func(StreamedEvent) error,
) error {
	s := &stream{client: c, options: options, handle: handle, lastID: options.After}
	s.retry, s.seen.most = 3*time.Second, rememberedEvents
	for {
		broken, err := s.connect(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return err
		}
		wait := pause(1, s.retry)
		if broken != nil && !broken.IsPassing() {
			return broken
		} else if broken != nil {
			s.failures++
			wait = pause(s.failures, broken.RetryAfter)
		}
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

type stream struct {
	client   *Client
	options  StreamOptions
	handle   func(StreamedEvent) error
	lastID   string
	retry    time.Duration // the server may change it
	failures int
	seen     memory[struct{}]
}

// connect reads one connection to its end, parsed as server-sent events. It returns the error of the
// connection, and separately the error of handle.
func (s *stream) connect(ctx context.Context) (*Error, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(streamSilence, cancel)
	defer silence.Stop()
	query := url.Values{}
	for name, value := range map[string]string{
		"event_name": s.options.EventName, "player_id": s.options.PlayerID,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	to := path("/events/events/stream?" + query.Encode())
	response, failure := s.client.open(ctx, "GET", to, nil, s.lastID)
	if failure != nil {
		return failure, nil
	}
	defer response.Body.Close()
	reader := bufio.NewReader(response.Body)
	fields := map[string]string{}
	for {
		line, err := reader.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil, nil
		} else if err != nil {
			return networkError(err), nil
		}
		silence.Stop() // handle may be slow
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			name, value, _ := strings.Cut(line, ": ")
			fields[name] = value
		} else {
			s.failures = 0
			if err := s.dispatch(fields); err != nil {
				return nil, err
			}
			fields = map[string]string{}
		}
		silence.Reset(streamSilence)
	}
}

func (s *stream) dispatch(fields map[string]string) error {
	if milliseconds, err := strconv.ParseUint(fields["retry"], 10, 31); err == nil {
		s.retry = time.Duration(milliseconds) * time.Millisecond
	}
	if data, ok := fields["data"]; ok {
		if err := s.deliver(fields["event"], data); err != nil {
			return err
		}
	}
	if id, ok := fields["id"]; ok {
		s.lastID = id
		if s.options.OnID != nil {
			s.options.OnID(id)
		}
	}
	return nil
}

func (s *stream) deliver(kind, data string) error {
	decoder := json.NewDecoder(strings.NewReader(data))
	decoder.UseNumber()
	if kind == "gap" {
		var gap struct{ Count int64 }
		if err := decoder.Decode(&gap); err != nil {
			return err
		}
		if s.options.OnGap == nil {
			log.Printf("ilara: the stream skipped %d events: this reader is too slow", gap.Count)
		} else {
			s.options.OnGap(gap.Count)
		}
		return nil
	}
	var event StreamedEvent
	if err := decoder.Decode(&event); err != nil {
		return err
	}
	// Ids are unique per player. A resume repeats a few seconds at most.
	place := event.PlayerID + event.EventID
	if _, ok := s.seen.values[place]; ok {
		return nil
	}
	s.seen.put(place, struct{}{})
	return s.handle(event)
}

// --- Helpers -------------------------------------------------------------------------------------

// memory stores a limited number of values and evicts the oldest.
type memory[T any] struct {
	most   int
	values map[string]T
	order  []string
}

func (m *memory[T]) put(key string, value T) {
	if m.values == nil {
		m.values = map[string]T{}
	}
	if _, ok := m.values[key]; !ok {
		m.order = append(m.order, key)
	}
	m.values[key] = value
	if len(m.order) > m.most {
		delete(m.values, m.order[0])
		m.order = m.order[1:]
	}
}

func (f PlayerFields) body() map[string]any {
	body := map[string]any{}
	for name, value := range map[string]*string{"device_id": f.DeviceID, "email": f.Email} {
		if value == Null {
			body[name] = nil
		} else if value != nil {
			body[name] = *value
		}
	}
	if f.Attributes != nil {
		body["attributes"] = f.Attributes
	}
	return body
}

// complete sets a fixed id and time, so that sending the event again changes nothing.
func (e *Event) complete() {
	e.EventID = orNewID(e.EventID)
	if e.Timestamp.IsZero() {
		e.Timestamp = time.Now().UTC()
	}
}

func (o EvaluationOptions) request(to place, playerID string) (place, map[string]any) {
	if to.err == nil {
		to.err = checkPlayer(playerID)
	}
	body, query := map[string]any{"player_id": playerID}, url.Values{}
	if o.Context != nil {
		body["context"] = o.Context
	}
	if o.Explain {
		query.Set("explain", "true")
	}
	if !o.At.IsZero() {
		query.Set("at", o.At.Format(time.RFC3339Nano))
	}
	if len(query) > 0 {
		to.path += "?" + query.Encode()
	}
	return to, body
}

var playerIDs = regexp.MustCompile("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")

// checkPlayer checks the id of a player here: a mistake is easier to find where it was made.
func checkPlayer(id string) *Error {
	if playerIDs.MatchString(id) {
		return nil
	}
	return &Error{Code: ErrValidation.Code, Message: "player_id must be the id that registration " +
		"returned, a UUID, not '" + id + "'. Is it the external id?"}
}

// place is the path of a call, or the error of an id in it.
type place struct {
	path string
	err  *Error
}

// path joins fixed parts alternating with ids.
func path(parts ...string) place {
	for index := 1; index < len(parts); index += 2 {
		id, before := parts[index], parts[index-1]
		if before == "/players/players/" || before == "/segments/player/" {
			if err := checkPlayer(id); err != nil {
				return place{err: err}
			}
		}
		if id == "" || id == "." || id == ".." { // would be another path
			message := "An id must not be empty, '.' or '..'"
			return place{err: &Error{Code: ErrValidation.Code, Message: message}}
		}
		parts[index] = url.PathEscape(parts[index])
	}
	return place{path: strings.Join(parts, "")}
}

func orNewID(id string) string {
	if id != "" {
		return id
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		panic(err) // the system has no source of randomness
	}
	random[6], random[8] = random[6]&0x0f|0x40, random[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x",
		random[:4], random[4:6], random[6:8], random[8:10], random[10:])
}

func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func setDefault[T int | time.Duration](option *T, value T) {
	if *option == 0 {
		*option = value
	}
}

func (c *Client) logRejected(event Event, err *Error) {
	c.warnOnce(err.Error(), fmt.Sprintf(
		"event %s was rejected, with the id %s: %s", event.EventName, event.EventID, err))
}
