// Records what a user did and prints what to show next, with nothing but code generated from the .proto files.
//
//	recommend ADDRESS USER ITEM
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	swiftlet "swiftlet/v1"
)

// Idempotent calls are made again when the server is unavailable or at its limit. (gRPC before 1.40 also wants
// GRPC_GO_RETRY=on in the environment.)
const serviceConfig = `{
  "methodConfig": [{
    "name": [
      {"service": "swiftlet.v1.RecommendationService"},
      {"service": "swiftlet.v1.EventService", "method": "RecordEvents"}
    ],
    "retryPolicy": {
      "maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    }
  }]
}`

// The id makes an event count once, however often it is sent: make it once, before the first attempt.
func newEventID() string {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		panic(err)
	}
	return hex.EncodeToString(id[:])
}

func run(address, user, item string) error {
	connection, err := grpc.Dial(address, grpc.WithInsecure(), grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		return err
	}
	defer connection.Close()

	// Every call has a deadline, which includes its retries.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	event := &swiftlet.Event{UserId: user, ItemId: item, Type: "click", EventId: newEventID()}
	if _, err := swiftlet.NewEventServiceClient(connection).RecordEvents(
		ctx, &swiftlet.RecordEventsRequest{Events: []*swiftlet.Event{event}}); err != nil {
		return err
	}

	answer, err := swiftlet.NewRecommendationServiceClient(connection).Recommend(ctx, &swiftlet.RecommendRequest{
		User:            &swiftlet.RecommendRequest_UserId{UserId: user},
		K:               5,
		IncludeMetadata: true,
	})
	if status.Code(err) == codes.FailedPrecondition {
		return fmt.Errorf("the server has no snapshot yet: %s", status.Convert(err).Message())
	}
	if err != nil {
		return err
	}
	for _, scored := range answer.Items {
		fmt.Printf("%s\t%.3f\t%s\n", scored.ItemId, scored.Score, scored.Metadata.GetTitle())
	}
	return nil
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: recommend ADDRESS USER ITEM")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
