// Drives the client for Go: a step on each line of stdin, its outcome on a line of stdout. The first
// line defines the clients. Steps that take more than one call have a case here, with the same name in
// all three drivers.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"game/ilara"
)

var (
	ctx      = context.Background()
	clients  = map[string]*ilara.Client{}
	streams  = map[string]*collected{}
	mutex    sync.Mutex // guards what other goroutines write
	rejected = [][]any{}
	types    = map[string]string{
		"VALIDATION_ERROR":    "ValidationError",
		"UNAUTHORIZED":        "UnauthorizedError",
		"NOT_FOUND":           "NotFoundError",
		"RATE_LIMIT_EXCEEDED": "RateLimitedError",
		"INTERNAL_ERROR":      "ServerError",
		"NETWORK_ERROR":       "NetworkError",
	}
)

// collected is what a stream received.
type collected struct {
	stop context.CancelFunc
	done chan struct{}
	ids  []string
	gaps []int64
	err  error
}

// arguments are the union of the arguments of all calls.
type arguments struct {
	Key             string           `json:"key"`
	PlayerID        string           `json:"player_id"`
	ExternalID      string           `json:"external_id"`
	SegmentID       string           `json:"segment_id"`
	DeviceID        *json.RawMessage `json:"device_id"`
	Email           *json.RawMessage `json:"email"`
	Attributes      map[string]any   `json:"attributes"`
	Limit           int              `json:"limit"`
	Cursor          string           `json:"cursor"`
	SessionID       string           `json:"session_id"`
	StartedAt       time.Time        `json:"started_at"`
	DurationSeconds int              `json:"duration_seconds"`
	Amount          string           `json:"amount"`
	Currency        string           `json:"currency"`
	TransactionID   string           `json:"transaction_id"`
	ProductID       string           `json:"product_id"`
	EventName       string           `json:"event_name"`
	EventID         string           `json:"event_id"`
	Properties      map[string]any   `json:"properties"`
	Timestamp       time.Time        `json:"timestamp"`
	Event           ilara.Event      `json:"event"`
	Events          []ilara.Event    `json:"events"`
	Context         map[string]any   `json:"context"`
	Explain         bool             `json:"explain"`
	At              time.Time        `json:"at"`
	Default         json.RawMessage  `json:"default"`
	PageSize        int              `json:"page_size"`
	Prefix          string           `json:"prefix"`
	Count           int              `json:"count"`
	Pause           float64          `json:"pause"`
	Name            string           `json:"name"`
	After           string           `json:"after"`
	Call            string           `json:"call"`
	Args            json.RawMessage  `json:"args"`
	Least           float64          `json:"least"`
	Most            float64          `json:"most"`
	Skip            int              `json:"skip"`
	Seconds         float64          `json:"seconds"`
}

func main() {
	input := bufio.NewReader(os.Stdin)
	var setup struct {
		BaseURL string `json:"base_url"`
		Keys    map[string]string
		Options map[string]options
	}
	read(line(input), &setup)
	for name, key := range setup.Keys {
		client, err := ilara.New(setup.BaseURL, key, setup.Options[name].of())
		if err != nil {
			panic(err)
		}
		clients[name] = client
	}
	for text := line(input); text != nil; text = line(input) {
		var step struct {
			As, Call string
			Args     json.RawMessage
		}
		read(text, &step)
		result, err := run(clients[step.As], step.Call, step.Args)
		tell(result, err)
	}
	for _, client := range clients {
		client.Close(ctx)
	}
}

// options of a client, durations in seconds.
type options struct {
	Timeout       float64 `json:"timeout"`
	Deadline      float64 `json:"deadline"`
	Attempts      int     `json:"attempts"`
	FlagTimeout   float64 `json:"flag_timeout"`
	FlushAt       int     `json:"flush_at"`
	FlushInterval float64 `json:"flush_interval"`
	MaxWaiting    int     `json:"max_waiting"`
}

func (o options) of() ilara.Options {
	return ilara.Options{
		Timeout: seconds(o.Timeout), Deadline: seconds(o.Deadline), Attempts: o.Attempts,
		FlagTimeout: seconds(o.FlagTimeout), FlushAt: o.FlushAt,
		FlushInterval: seconds(o.FlushInterval), MaxWaiting: o.MaxWaiting, OnRejected: note,
	}
}

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }

func note(event ilara.Event, err *ilara.Error) {
	mutex.Lock()
	defer mutex.Unlock()
	rejected = append(rejected, []any{event.EventID, types[err.Code], err.Message, details(err)})
}

func details(err *ilara.Error) []ilara.Detail { return append([]ilara.Detail{}, err.Details...) }

func run(client *ilara.Client, name string, text json.RawMessage) (any, error) {
	var a arguments
	if text != nil {
		read(text, &a)
	}
	evaluation := ilara.EvaluationOptions{Context: a.Context, Explain: a.Explain, At: a.At}
	fields := ilara.PlayerFields{
		DeviceID: field(text, "device_id"), Email: field(text, "email"), Attributes: a.Attributes,
	}
	switch name {
	case "register_player":
		return client.RegisterPlayer(ctx, a.ExternalID, fields)
	case "update_player":
		return client.UpdatePlayer(ctx, a.PlayerID, fields)
	case "get_player":
		return client.GetPlayer(ctx, a.PlayerID)
	case "get_player_by_external_id":
		return client.GetPlayerByExternalID(ctx, a.ExternalID)
	case "list_players":
		return client.ListPlayers(ctx, a.Limit, a.Cursor)
	case "record_session":
		return client.RecordSession(ctx, a.PlayerID, ilara.Session{
			ID: a.SessionID, StartedAt: a.StartedAt, DurationSeconds: a.DurationSeconds,
		})
	case "record_purchase":
		return client.RecordPurchase(ctx, a.PlayerID, ilara.Purchase{
			Amount: a.Amount, Currency: a.Currency, TransactionID: a.TransactionID,
			ProductID: a.ProductID,
		})
	case "get_lifecycle":
		return client.GetLifecycle(ctx, a.PlayerID)
	case "get_churn_risk":
		return client.GetChurnRisk(ctx, a.PlayerID)
	case "link_alias":
		return client.LinkAlias(ctx, a.PlayerID, a.ExternalID)
	case "unlink_alias":
		return client.UnlinkAlias(ctx, a.PlayerID, a.ExternalID)
	case "track":
		return client.Track(ilara.Event{
			PlayerID: a.PlayerID, EventName: a.EventName, Properties: a.Properties,
			SessionID: a.SessionID, Timestamp: a.Timestamp, EventID: a.EventID,
		})
	case "track_now":
		return client.TrackNow(ctx, a.Event)
	case "track_batch":
		return client.TrackBatch(ctx, a.Events)
	case "flush":
		waiting, cancel := context.WithTimeout(ctx, seconds(math.Max(a.Seconds, 10)))
		defer cancel()
		return 0, client.Flush(waiting)
	case "close":
		return 0, client.Close(ctx)
	case "dropped":
		return client.Dropped(), nil
	case "flag":
		return flag(client, a), nil
	case "evaluate_flag":
		return client.EvaluateFlag(ctx, a.Key, a.PlayerID, evaluation)
	case "evaluate_flags":
		return client.EvaluateFlags(ctx, a.PlayerID, evaluation)
	case "evaluate_segment":
		return client.EvaluateSegment(ctx, a.SegmentID, a.PlayerID)
	case "get_player_segments":
		return client.GetPlayerSegments(ctx, a.PlayerID)
	case "rejected":
		mutex.Lock()
		defer mutex.Unlock()
		return rejected[a.Skip:], nil
	case "player_ids":
		ids := []string{}
		err := client.EachPlayer(ctx, a.PageSize, func(player ilara.Player) error {
			ids = append(ids, player.ExternalID)
			return nil
		})
		return ids, err
	case "track_many":
		for number := 0; number < a.Count; number++ {
			if _, err := client.Track(ilara.Event{
				PlayerID: a.PlayerID, EventName: "step", EventID: fmt.Sprint(a.Prefix, number),
				Properties: map[string]any{"n": number},
			}); err != nil {
				return nil, err
			}
			time.Sleep(seconds(a.Pause))
		}
		return a.Count, nil
	case "stream_start":
		streamStart(client, a)
		return nil, nil
	case "stream_wait":
		return streamWait(a)
	case "stream_gaps":
		mutex.Lock()
		defer mutex.Unlock()
		return streams[a.Name].gaps, nil
	case "stream_stop":
		streams[a.Name].stop()
		select {
		case <-streams[a.Name].done:
			return true, nil
		case <-time.After(5 * time.Second):
			return false, nil
		}
	case "timed":
		started := time.Now()
		result, err := run(client, a.Call, a.Args)
		took := time.Since(started)
		return []any{result, seconds(a.Least) <= took && took <= seconds(a.Most)}, err
	}
	panic("unknown call " + name)
}

// flag calls Flag with the type of the default.
func flag(client *ilara.Client, a arguments) any {
	contexts := []map[string]any{}
	if a.Context != nil {
		contexts = append(contexts, a.Context)
	}
	switch text := string(a.Default); {
	case text == "true" || text == "false":
		return ilara.Flag(ctx, client, a.Key, a.PlayerID, text == "true", contexts...)
	case strings.HasPrefix(text, `"`):
		return ilara.Flag(ctx, client, a.Key, a.PlayerID, decoded[string](a.Default), contexts...)
	case strings.HasPrefix(text, "{"):
		value := decoded[map[string]any](a.Default)
		return ilara.Flag(ctx, client, a.Key, a.PlayerID, value, contexts...)
	case strings.HasPrefix(text, "["):
		return ilara.Flag(ctx, client, a.Key, a.PlayerID, decoded[[]any](a.Default), contexts...)
	case strings.Contains(text, "."):
		return ilara.Flag(ctx, client, a.Key, a.PlayerID, decoded[float64](a.Default), contexts...)
	}
	return ilara.Flag(ctx, client, a.Key, a.PlayerID, decoded[int](a.Default), contexts...)
}

func decoded[T any](text json.RawMessage) (value T) {
	read(text, &value)
	return value
}

// field distinguishes null from a missing field.
func field(text json.RawMessage, name string) *string {
	var all map[string]json.RawMessage
	if text == nil {
		return nil
	}
	read(text, &all)
	switch value, ok := all[name]; {
	case !ok:
		return nil
	case string(value) == "null":
		return ilara.Null
	default:
		text := decoded[string](value)
		return &text
	}
}

func streamStart(client *ilara.Client, a arguments) {
	reading, stop := context.WithCancel(ctx)
	c := &collected{stop: stop, done: make(chan struct{})}
	streams[a.Name] = c
	wanted := ilara.StreamOptions{After: a.After, EventName: a.EventName, PlayerID: a.PlayerID}
	wanted.OnGap = func(count int64) {
		mutex.Lock()
		defer mutex.Unlock()
		c.gaps = append(c.gaps, count)
	}
	go func() {
		err := client.Stream(reading, wanted, func(event ilara.StreamedEvent) error {
			mutex.Lock()
			defer mutex.Unlock()
			c.ids = append(c.ids, event.EventID)
			return nil
		})
		mutex.Lock()
		defer mutex.Unlock()
		c.err = err
		close(c.done)
	}()
}

// streamWait returns the received ids, once there are enough or after a minute.
func streamWait(a arguments) (any, error) {
	c := streams[a.Name]
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		mutex.Lock()
		ids, err := append([]string{}, c.ids...), c.err
		mutex.Unlock()
		if err != nil || len(ids) >= a.Count || time.Now().After(deadline) {
			return ids, err
		}
	}
}

func tell(result any, err error) {
	outcome := map[string]any{"result": result}
	var failure *ilara.Error
	if errors.As(err, &failure) {
		outcome = map[string]any{"error": map[string]any{
			"type": types[failure.Code], "code": failure.Code, "status": failure.Status,
			"message": failure.Message, "details": details(failure),
		}}
	} else if err != nil {
		panic(err)
	}
	text, err := json.Marshal(outcome)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

func line(input *bufio.Reader) []byte {
	text, err := input.ReadBytes('\n')
	if err != nil {
		return nil
	}
	return text
}

func read(text []byte, target any) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(target); err != nil {
		panic(fmt.Sprint(err, " in ", string(text)))
	}
}
