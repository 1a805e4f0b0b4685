#include "tests/fuzz/message_mutator.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "tests/fuzz/fuzz_target.h"

namespace swiftlet::fuzz {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

class Mutator {
 public:
  Mutator(const MutatorValues& values, std::mt19937_64& random) : values_(values), random_(random) {}

  void Mutate(Message* message) {
    const google::protobuf::Descriptor* descriptor = message->GetDescriptor();
    if (descriptor->field_count() == 0) return;
    const FieldDescriptor* field = descriptor->field(static_cast<int>(Below(descriptor->field_count())));
    if (field->is_repeated()) {
      MutateRepeated(message, field);
    } else if (Below(8) == 0) {
      message->GetReflection()->ClearField(message, field);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Mutate(message->GetReflection()->MutableMessage(message, field));
    } else {
      Set(message, field);
    }
  }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }
  template <typename T>
  const T& OneOf(std::span<const T> values) {
    return values[Below(values.size())];
  }

  std::string NewString(std::string old) {
    switch (Below(8)) {
      case 0:
        return std::string(Below(2) == 0 ? 256 + Below(2) : 1024 + Below(2), 'x');
      case 1:
      case 2: {
        old.resize(std::min<size_t>(old.size(), 300));
        size_t size = old.size();
        old.resize(size + 16);
        size = LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(old.data()), size, old.size());
        old.resize(size);
        return old;
      }
      default:
        return OneOf(values_.strings);
    }
  }
  int64_t NewInteger() { return Below(8) == 0 ? static_cast<int64_t>(random_()) : OneOf(values_.integers); }
  double NewNumber() { return OneOf(values_.numbers); }

  void Set(Message* m, const FieldDescriptor* f) {
    const Reflection* r = m->GetReflection();
    switch (f->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return r->SetInt32(m, f, static_cast<int32_t>(NewInteger()));
      case FieldDescriptor::CPPTYPE_INT64:
        return r->SetInt64(m, f, NewInteger());
      case FieldDescriptor::CPPTYPE_FLOAT:
        return r->SetFloat(m, f, static_cast<float>(NewNumber()));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return r->SetDouble(m, f, NewNumber());
      case FieldDescriptor::CPPTYPE_BOOL:
        return r->SetBool(m, f, Below(2) == 0);
      case FieldDescriptor::CPPTYPE_ENUM:
        return r->SetEnumValue(m, f, static_cast<int>(Below(8)));
      case FieldDescriptor::CPPTYPE_STRING:
        return r->SetString(m, f, NewString(r->GetString(*m, f)));
      default:
        return;
    }
  }

  void Add(Message* m, const FieldDescriptor* f) {
    const Reflection* r = m->GetReflection();
    if (f->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return r->AddString(m, f, NewString(""));
    if (f->cpp_type() == FieldDescriptor::CPPTYPE_FLOAT)
      return r->AddFloat(m, f, static_cast<float>(NewNumber()));
    if (f->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Message* added = r->AddMessage(m, f);
      // Mostly like one that is there.
      const int n = r->FieldSize(*m, f);
      if (n > 1 && Below(4) != 0)
        added->CopyFrom(r->GetRepeatedMessage(*m, f, static_cast<int>(Below(n - 1))));
      for (uint64_t i = 0, changes = 1 + Below(3); i < changes; ++i) Mutate(added);
    }
  }

  // Maps are cleared or added to: reflection keeps two forms of a map, and changing entries in place or
  // taking them away by position is not for both. Under ThreadSanitizer they stay as they are: protobuf's
  // headers then lay maps out otherwise than Debian's library, which does the reflection.
  void MutateMap([[maybe_unused]] Message* m, [[maybe_unused]] const FieldDescriptor* f) {
#ifndef __SANITIZE_THREAD__
    const Reflection* r = m->GetReflection();
    if (Below(4) == 0) return r->ClearField(m, f);
    Message* entry = r->AddMessage(m, f);
    for (int i = 0; i < entry->GetDescriptor()->field_count(); ++i) {
      Set(entry, entry->GetDescriptor()->field(i));
    }
#endif
  }

  void MutateRepeated(Message* m, const FieldDescriptor* f) {
    if (f->is_map()) return MutateMap(m, f);
    const Reflection* r = m->GetReflection();
    const int n = r->FieldSize(*m, f);
    const uint64_t choice = Below(8);
    if (n == 0 || choice < 2) return Add(m, f);
    if (choice == 2) return r->RemoveLast(m, f);
    if (choice == 3) return r->SwapElements(m, f, 0, static_cast<int>(Below(n)));
    if (choice == 4 && n < 100) {
      for (uint64_t i = 0, more = Below(12); i < more; ++i) Add(m, f);
      return;
    }
    const int index = static_cast<int>(Below(n));
    if (f->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE)
      return Mutate(r->MutableRepeatedMessage(m, f, index));
    if (f->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      return r->SetRepeatedString(m, f, index, NewString(r->GetRepeatedString(*m, f, index)));
    }
    if (f->cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
      return r->SetRepeatedFloat(m, f, index, static_cast<float>(NewNumber()));
    }
  }

  const MutatorValues& values_;
  std::mt19937_64& random_;
};

}  // namespace

void MutateMessage(const MutatorValues& values, std::mt19937_64& random, Message* message) {
  Mutator(values, random).Mutate(message);
}

}  // namespace swiftlet::fuzz
