// Tests of the Go client that need no Ilara server.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"game/ilara"
)

type wrapped struct{ http.RoundTripper }

func client(t *testing.T, options ilara.Options, handler http.HandlerFunc) *ilara.Client {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := ilara.New(server.URL, "key", options)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestNewWithACustomDefaultTransport(t *testing.T) {
	before := http.DefaultTransport
	http.DefaultTransport = wrapped{before} // as tracing libraries do
	defer func() { http.DefaultTransport = before }()
	if _, err := ilara.New("http://h", "key", ilara.Options{}); err != nil {
		t.Fatal(err)
	}
}

func TestNewRefusesAnInvalidKey(t *testing.T) {
	for _, key := range []string{"pk_live_abc\n", "", "pk_live_ü"} {
		_, err := ilara.New("http://h", key, ilara.Options{})
		if err == nil || strings.Contains(err.Error(), "pk_live") {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestCloseSendsNothingThatItReportedLost(t *testing.T) {
	arrived, respond := make(chan struct{}, 9), make(chan struct{})
	client := client(t, ilara.Options{FlushAt: 1}, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-respond
		fmt.Fprint(w, `{"data":{"accepted":1,"duplicates":0,"rejected":[]}}`)
	})
	track := func() {
		if _, err := client.Track(ilara.Event{PlayerID: "550e8400-e29b-41d4-a716-446655440000", EventName: "step"}); err != nil {
			t.Fatal(err)
		}
	}
	track()
	<-arrived
	track()
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if err := client.Close(done); err == nil {
		t.Error("nothing was reported lost")
	}
	close(respond)
	select {
	case <-arrived:
		t.Error("sent a lost event")
	case <-time.After(300 * time.Millisecond):
	}
}

func TestStreamEndsWithTheErrorOfHandle(t *testing.T) {
	client := client(t, ilara.Options{}, func(w http.ResponseWriter, r *http.Request) {
		for number := 1; number <= 3; number++ {
			fmt.Fprintf(w, "id: %d\ndata: {\"player_id\":\"p\",\"event_id\":\"%d\"}\n\n", number, number)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	// handle makes a call that fails, which is not an error of the stream.
	failure := &ilara.Error{Code: ilara.ErrNetwork.Code, Message: "no response"}
	ids := []string{}
	options := ilara.StreamOptions{OnID: func(id string) { ids = append(ids, id) }}
	err := client.Stream(ctx, options, func(event ilara.StreamedEvent) error {
		if event.EventID == "2" {
			return failure
		}
		return nil
	})
	if !errors.Is(err, failure) {
		t.Error(err)
	}
	if strings.Join(ids, " ") != "1" { // resuming there delivers the second event again
		t.Error(ids)
	}
}
