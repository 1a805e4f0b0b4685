// Records what a user did and prints what to show to somebody who did just that (an inline history: the request carries it, and
// any server can answer), with nothing but what protoc generates from the .proto files.
//
//   npm install && npm run build        # protoc is Debian's protobuf-compiler
//   node dist/recommend.js ADDRESS USER ITEM
//
// The .proto files are in $SWIFTLET_PROTO, or where they are in this repository.
import {randomUUID} from 'node:crypto';
import {credentials, Metadata, status, type CallOptions, type ServiceError} from '@grpc/grpc-js';
import {EventServiceClient, RecordEventsRequest, type RecordEventsResponse} from './gen/swiftlet/v1/event.js';
import {RecommendationServiceClient, RecommendRequest, type RecommendResponse} from './gen/swiftlet/v1/recommendation.js';

const TIMEOUT_MS = 5000;

// Idempotent calls are made again when the server is unavailable or at its limit.
const SERVICE_CONFIG = {
  methodConfig: [{
    name: [
      {service: 'swiftlet.v1.RecommendationService'},
      {service: 'swiftlet.v1.EventService', method: 'RecordEvents'},
    ],
    retryPolicy: {
      maxAttempts: 4, initialBackoff: '0.05s', maxBackoff: '1s', backoffMultiplier: 2,
      retryableStatusCodes: ['UNAVAILABLE', 'RESOURCE_EXHAUSTED'],
    },
  }],
};

type Unary<Request, Response> = (
  request: Request, metadata: Metadata, options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: Response) => void) => unknown;

// Every call has a deadline, which includes its retries.
function call<Request, Response>(method: Unary<Request, Response>, request: Request): Promise<Response> {
  return new Promise((resolve, reject) => {
    method(request, new Metadata(), {deadline: Date.now() + TIMEOUT_MS},
      (error, response) => error ? reject(error) : resolve(response));
  });
}

// One of each for the life of a program; they share their connections.
class Server {
  private readonly events: EventServiceClient;
  private readonly recommendations: RecommendationServiceClient;

  constructor(address: string) {
    const options = {'grpc.service_config': JSON.stringify(SERVICE_CONFIG)};
    this.events = new EventServiceClient(address, credentials.createInsecure(), options);
    this.recommendations = new RecommendationServiceClient(address, credentials.createInsecure(), options);
  }

  recordEvents(request: RecordEventsRequest): Promise<RecordEventsResponse> {
    return call(this.events.recordEvents.bind(this.events) as Unary<RecordEventsRequest, RecordEventsResponse>, request);
  }

  recommend(request: RecommendRequest): Promise<RecommendResponse> {
    return call(this.recommendations.recommend.bind(this.recommendations) as Unary<RecommendRequest, RecommendResponse>, request);
  }

  close(): void {
    this.events.close();
    this.recommendations.close();
  }
}

async function run(server: Server, user: string, item: string): Promise<void> {
  // The id makes an event count once, however often it is sent: make it once, before the first attempt.
  await server.recordEvents(RecordEventsRequest.fromPartial(
    {events: [{userId: user, itemId: item, type: 'click', eventId: randomUUID()}]}));

  const answer = await server.recommend(RecommendRequest.fromPartial({
    history: {events: [{itemId: item, type: 'click'}]},
    k: 5,
    includeMetadata: true,
  }));
  for (const {itemId, score, metadata} of answer.items) {
    console.log(`${itemId}\t${score.toFixed(3)}\t${metadata?.title ?? ''}`);
  }
}

const [address, user, item, ...rest] = process.argv.slice(2);
if (address === undefined || user === undefined || item === undefined || rest.length > 0) {
  console.error('usage: node dist/recommend.js ADDRESS USER ITEM');
  process.exit(2);
}
const server = new Server(address);
try {
  await run(server, user, item);
} catch (thrown) {
  process.exitCode = 1;
  const error = thrown as Partial<ServiceError>;
  if (error.code === status.FAILED_PRECONDITION) {
    console.error(`the server has no snapshot yet: ${error.details}`);
  } else if (error.code === status.DEADLINE_EXCEEDED) {
    console.error(`no answer within ${TIMEOUT_MS / 1000} s`);
  } else {
    console.error(error.code === undefined ? thrown : `${status[error.code]}: ${error.details}`);
  }
} finally {
  server.close();
}
