// Records what a user did and prints what to show to somebody who did just that (an inline history: the request carries it, and
// any server can answer), with nothing but what is generated from the .proto files, here while the program starts.
//
//   npm install
//   node recommend.js ADDRESS USER ITEM
//
// The .proto files are in $SWIFTLET_PROTO, or where they are in this repository.
import {randomUUID} from 'node:crypto';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const TIMEOUT_MS = 5000;

const definition = protoLoader.loadSync(['swiftlet/v1/event.proto', 'swiftlet/v1/recommendation.proto'], {
  includeDirs: [process.env.SWIFTLET_PROTO ?? fileURLToPath(new URL('../../../proto', import.meta.url))],
  defaults: true,  // fields that are not set have their default
  longs: Number,   // times in milliseconds fit
  enums: String,
  oneofs: true,
});
const {swiftlet} = grpc.loadPackageDefinition(definition);

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

// One of each for the life of a program; they share their connections.
function connect(address) {
  const credentials = grpc.credentials.createInsecure();
  const options = {'grpc.service_config': JSON.stringify(SERVICE_CONFIG)};
  const events = new swiftlet.v1.EventService(address, credentials, options);
  const recommendations = new swiftlet.v1.RecommendationService(address, credentials, options);
  // Every call has a deadline, which includes its retries.
  const call = (client, method) => {
    const unary = promisify(client[method]).bind(client);
    return (request) => unary(request, {deadline: Date.now() + TIMEOUT_MS});
  };
  return {
    recordEvents: call(events, 'RecordEvents'),
    recommend: call(recommendations, 'Recommend'),
    close() {
      events.close();
      recommendations.close();
    },
  };
}

async function run(server, user, item) {
  // The id makes an event count once, however often it is sent: make it once, before the first attempt.
  await server.recordEvents({events: [{userId: user, itemId: item, type: 'click', eventId: randomUUID()}]});

  const answer = await server.recommend({
    history: {events: [{itemId: item, type: 'click'}]},
    k: 5,
    includeMetadata: true,
  });
  for (const {itemId, score, metadata} of answer.items) {
    console.log(`${itemId}\t${score.toFixed(3)}\t${metadata?.title ?? ''}`);
  }
}

const [address, user, item, ...rest] = process.argv.slice(2);
if (item === undefined || rest.length > 0) {
  console.error('usage: node recommend.js ADDRESS USER ITEM');
  process.exit(2);
}
const server = connect(address);
try {
  await run(server, user, item);
} catch (error) {
  process.exitCode = 1;
  if (error.code === grpc.status.FAILED_PRECONDITION) {
    console.error(`the server has no snapshot yet: ${error.details}`);
  } else if (error.code === grpc.status.DEADLINE_EXCEEDED) {
    console.error(`no answer within ${TIMEOUT_MS / 1000} s`);
  } else {
    console.error(error.code === undefined ? error : `${grpc.status[error.code]}: ${error.details}`);
  }
} finally {
  server.close();
}
