// What the lanes of a warp touch in global memory, for `python -m benchmarks.coalescing`. The kernels are compiled with
// -fsanitize=thread, by which gcc calls a function at every access. Those functions are here, in place of the sanitizer's.
//
// The accesses of a warp's lanes at one place of the code, the n-th of each lane, are one request, as on a card whose lanes
// keep together. Stacks, shared memory, arguments of the kernel and the emulation's own memory are left out.
#include <pthread.h>

#include <map>
#include <tuple>
#include <unordered_map>

#include "lanes.h"

extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start, _end;  // of this library

namespace {

using emulation::machine;
constexpr uintptr_t kSector = 32;

struct Total {
  uint64_t requests = 0, sectors = 0, fewest = 0;
};
struct Access {
  uintptr_t address;
  unsigned size;
};

std::map<std::string, Total> totals;
std::map<std::tuple<unsigned, const void*, unsigned>, std::vector<Access>> requests;  // by warp, place and occurrence
std::map<std::pair<unsigned, const void*>, unsigned> occurrences;                     // by lane and place
const void* block = nullptr;
std::string kernel;

void finish_block() {
  for (auto& [key, accesses] : requests) {
    std::vector<uintptr_t> touched;
    for (const Access& one : accesses) {
      for (unsigned k = 0; k < one.size; ++k) touched.push_back(one.address + k);
    }
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    Total& total = totals[kernel];
    ++total.requests;
    total.fewest += (touched.size() + kSector - 1) / kSector;
    for (size_t k = 0; k < touched.size(); ++k) total.sectors += k == 0 || touched[k] / kSector != touched[k - 1] / kSector;
  }
  requests.clear();
  occurrences.clear();
}

bool holds(const void* begin, size_t size, uintptr_t address) {
  return address - reinterpret_cast<uintptr_t>(begin) < size;
}

bool is_global(uintptr_t address) {
  static thread_local const char* stack = nullptr;
  static thread_local size_t stack_size = 0;
  if (stack == nullptr) {
    pthread_attr_t attributes;
    void* begin;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &begin, &stack_size);
    pthread_attr_destroy(&attributes);
    stack = static_cast<const char*>(begin);
  }
  const emulation::Lane& lane = *machine.current;
  const emulation::Block& own = *lane.block;
  if (holds(stack, stack_size, address) || holds(lane.fiber->stack.get(), emulation::kStack, address)) return false;
  if (holds(&__ehdr_start, &_end - &__ehdr_start, address) || holds(&own, sizeof own, address)) return false;
  if (holds(own.lanes.data(), own.lanes.size() * sizeof lane, address)) return false;
  if (holds(own.shared.data(), own.shared.capacity() * sizeof own.shared[0], address)) return false;
  for (const auto& variable : own.shared) {
    if (holds(variable.memory.get(), variable.size, address)) return false;
  }
  return true;
}

__attribute__((noinline)) void record(const void* at, unsigned size, const void* place) {
  if (machine.current == nullptr || machine.current->fiber == nullptr) return;
  if (!holds(machine.current->fiber->stack.get(), emulation::kStack, reinterpret_cast<uintptr_t>(&at))) return;  // the host
  const auto address = reinterpret_cast<uintptr_t>(at);
  if (!is_global(address)) return;
  if (block != machine.current->block || kernel != machine.kernel) {
    finish_block();
    block = machine.current->block;
    kernel = machine.kernel;
  }
  const unsigned thread = machine.current->thread;
  const unsigned occurrence = occurrences[{thread, place}]++;
  requests[{thread / 32, place, occurrence}].push_back({address, size});
}

}  // namespace

namespace emulation {
void touch(const void* address, unsigned size) { record(address, size, __builtin_return_address(0)); }
}  // namespace emulation

extern "C" {
#define ACCESS(name, size) \
  void __tsan_##name(void* at) { record(at, size, __builtin_return_address(0)); }
ACCESS(read1, 1) ACCESS(read2, 2) ACCESS(read4, 4) ACCESS(read8, 8) ACCESS(read16, 16)
ACCESS(write1, 1) ACCESS(write2, 2) ACCESS(write4, 4) ACCESS(write8, 8) ACCESS(write16, 16)
ACCESS(unaligned_read2, 2) ACCESS(unaligned_read4, 4) ACCESS(unaligned_read8, 8) ACCESS(unaligned_read16, 16)
ACCESS(unaligned_write2, 2) ACCESS(unaligned_write4, 4) ACCESS(unaligned_write8, 8) ACCESS(unaligned_write16, 16)
void __tsan_read_range(void* at, size_t size) { record(at, size, __builtin_return_address(0)); }
void __tsan_write_range(void* at, size_t size) { record(at, size, __builtin_return_address(0)); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
void __tsan_atomic_thread_fence(int) {}

// An atomic is counted where the emulation does it, by touch(); so its own steps are not.
#define ATOMIC(bits, type)                                                                                       \
  type __tsan_atomic##bits##_load(const volatile type* at, int) {                                                \
    record(const_cast<const type*>(at), sizeof(type), __builtin_return_address(0));                              \
    return __atomic_load_n(at, __ATOMIC_RELAXED);                                                                \
  }                                                                                                              \
  type __tsan_atomic##bits##_fetch_add(volatile type* at, type value, int) {                                     \
    return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);                                                      \
  }                                                                                                              \
  bool __tsan_atomic##bits##_compare_exchange_strong(volatile type* at, type* expected, type value, int, int) {  \
    return __atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);          \
  }                                                                                                              \
  type __tsan_atomic##bits##_compare_exchange_val(volatile type* at, type expected, type value, int, int) {      \
    __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);                \
    return expected;                                                                                             \
  }
ATOMIC(32, uint32_t) ATOMIC(64, uint64_t)

// What was counted since the last call, a line for each kernel: its name, requests, sectors, and the fewest sectors
// that could hold the same bytes.
__attribute__((visibility("default"))) const char* emulation_accesses() {
  static std::string text;
  finish_block();
  block = nullptr;
  text.clear();
  for (const auto& [name, t] : totals) {
    text += name + ' ' + std::to_string(t.requests) + ' ' + std::to_string(t.sectors) + ' ' + std::to_string(t.fewest) + '\n';
  }
  totals.clear();
  return text.c_str();
}
}
