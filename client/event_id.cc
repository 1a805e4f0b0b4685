#include "client/event_id.h"

#include <xxhash.h>

#include <bit>
#include <random>
#include <string_view>

#include "absl/strings/str_format.h"

namespace swiftlet {
namespace {

std::string Hex128(uint64_t high, uint64_t low) { return absl::StrFormat("%016x%016x", high, low); }

// Fixed-width little-endian, so that the bytes that are hashed do not depend on the machine.
void AppendNumber(uint64_t number, std::string& bytes) {
  for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(number >> shift));
}

void AppendText(std::string_view text, std::string& bytes) {
  AppendNumber(text.size(), bytes);
  bytes.append(text);
}

}  // namespace

std::string RandomEventId() {
  // Seeded by the system; one generator per thread.
  thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device(), device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  const uint64_t high = generator();
  return Hex128(high, generator());
}

std::string EventIdOf(const v1::Event& event, int64_t line) {
  std::string bytes;
  AppendText(event.user_id(), bytes);
  AppendText(event.item_id(), bytes);
  AppendText(event.type(), bytes);
  // -0 and 0 are the same value.
  AppendNumber(std::bit_cast<uint32_t>(event.value() == 0 ? 0.0f : event.value()), bytes);
  AppendNumber(static_cast<uint64_t>(event.timestamp_ms()), bytes);
  if (event.timestamp_ms() == 0) AppendNumber(static_cast<uint64_t>(line), bytes);
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return Hex128(hash.high64, hash.low64);
}

}  // namespace swiftlet
