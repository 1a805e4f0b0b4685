package io.swiftlet.example;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.swiftlet.v1.Event;
import io.swiftlet.v1.EventServiceGrpc;
import io.swiftlet.v1.InlineHistory;
import io.swiftlet.v1.RecommendRequest;
import io.swiftlet.v1.RecommendResponse;
import io.swiftlet.v1.RecommendationServiceGrpc;
import io.swiftlet.v1.RecordEventsRequest;
import io.swiftlet.v1.ScoredItem;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/**
 * Records what a user did and prints what to show to somebody who did just that (an inline history: the request carries it, and
 * any server can answer), with nothing but code generated from the .proto files.
 *
 * <p>Arguments: ADDRESS USER ITEM
 */
public final class Recommend {
  private static final long TIMEOUT_SECONDS = 5;

  /** Idempotent calls are made again when the server is unavailable or at its limit. Numbers are doubles, as in JSON. */
  private static final Map<String, ?> SERVICE_CONFIG =
      Map.of(
          "methodConfig",
          List.of(
              Map.of(
                  "name",
                  List.of(
                      Map.of("service", "swiftlet.v1.RecommendationService"),
                      Map.of("service", "swiftlet.v1.EventService", "method", "RecordEvents")),
                  "retryPolicy",
                  Map.of(
                      "maxAttempts", 4.0,
                      "initialBackoff", "0.05s",
                      "maxBackoff", "1s",
                      "backoffMultiplier", 2.0,
                      "retryableStatusCodes", List.of("UNAVAILABLE", "RESOURCE_EXHAUSTED")))));

  private Recommend() {}

  private static void run(ManagedChannel channel, String user, String item) {
    // The id makes an event count once, however often it is sent: make it once, before the first attempt.
    Event event =
        Event.newBuilder()
            .setUserId(user)
            .setItemId(item)
            .setType("click")
            .setEventId(UUID.randomUUID().toString())
            .build();
    // Every call has a deadline, which includes its retries.
    EventServiceGrpc.newBlockingStub(channel)
        .withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS)
        .recordEvents(RecordEventsRequest.newBuilder().addEvents(event).build());

    RecommendResponse answer =
        RecommendationServiceGrpc.newBlockingStub(channel)
            .withDeadlineAfter(TIMEOUT_SECONDS, TimeUnit.SECONDS)
            .recommend(
                RecommendRequest.newBuilder()
                    .setHistory(InlineHistory.newBuilder().addEvents(Event.newBuilder().setItemId(item).setType("click")))
                    .setK(5)
                    .setIncludeMetadata(true)
                    .build());
    for (ScoredItem scored : answer.getItemsList()) {
      System.out.printf("%s\t%.3f\t%s%n", scored.getItemId(), scored.getScore(), scored.getMetadata().getTitle());
    }
  }

  public static void main(String[] args) throws InterruptedException {
    if (args.length != 3) {
      System.err.println("usage: Recommend ADDRESS USER ITEM");
      System.exit(2);
    }
    // One channel for the life of a program: it is thread-safe, and keeps its connections.
    ManagedChannel channel =
        Grpc.newChannelBuilder(args[0], InsecureChannelCredentials.create()).defaultServiceConfig(SERVICE_CONFIG).build();
    int code = 0;
    try {
      run(channel, args[1], args[2]);
    } catch (StatusRuntimeException error) {
      code = 1;
      Status status = error.getStatus();
      switch (status.getCode()) {
        case FAILED_PRECONDITION -> System.err.println("the server has no snapshot yet: " + status.getDescription());
        case DEADLINE_EXCEEDED -> System.err.println("no answer within " + TIMEOUT_SECONDS + " s");
        default -> System.err.println(status.getCode() + ": " + status.getDescription());
      }
    } finally {
      channel.shutdownNow().awaitTermination(1, TimeUnit.SECONDS);
    }
    System.exit(code);
  }
}
