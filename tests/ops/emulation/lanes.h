// Runs CUDA kernels on the CPU: every lane is a fiber, so that barriers, votes and shuffles work and the order of blocks and
// lanes can be chosen. Checks launch limits, static shared memory, divergent barriers, votes of lanes that have left, and
// deadlocks. With -fsanitize=address accesses out of bounds show; with -fsanitize=thread races (each lane is a thread, and
// only barriers and __syncwarp order memory). Shared memory is poisoned: a read before a write gives NaN or −1.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <utility>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
#define EMULATION_UNSEEN __attribute__((no_sanitize("thread"), noinline))
#elif defined(EMULATION_ACCESSES)
#define EMULATION_UNSEEN __attribute__((no_sanitize("thread"), noinline))
#else
#define EMULATION_UNSEEN
#endif

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorLaunchFailure = 719;
inline dim3 blockIdx, threadIdx, blockDim, gridDim;

namespace emulation {

enum Order { kForward, kReverse, kRandom };

// How the next launches run. resident: blocks in flight together. preempt: a lane may lose its turn at each atomic.
struct Settings {
  Order order = kForward;
  unsigned seed = 1;
  int resident = 1;
  bool preempt = false;
};

struct Fiber {
  ucontext_t context;
  jmp_buf jump;
  std::unique_ptr<char[]> stack;
  bool started = false;
  void* fake_stack = nullptr;  // these four for the sanitizers
  const void* bottom = nullptr;
  size_t size = 0;
  void* tsan = nullptr;
};

// Shared memory begins at a multiple of this.
constexpr std::align_val_t kAlignment{64};
struct FreeAligned {
  void operator()(char* memory) const { ::operator delete[](memory, kAlignment); }
};

struct Block;
enum State { kFresh, kReady, kAtBarrier, kAtExchange, kDone };

struct Lane {
  Block* block;
  unsigned thread;
  State state = kFresh;
  Fiber* fiber = nullptr;
  unsigned mask = 0;               // of the exchange that it waits at
  uint64_t given = 0, taken[32];   // its own value there, and those of all lanes of the mask
};

struct Shared {
  int id;
  size_t size;
  std::unique_ptr<char[], FreeAligned> memory;
};

struct Block {
  dim3 index;
  int live = 0, at_barrier = 0, exited = 0, barrier_line = 0, barriers = 0;
  bool pending_or = false, result_or = false;  // of __syncthreads_or
  char tokens[2] = {};  // of the order of memory, of even and odd barriers: a lane can be one barrier ahead
  std::vector<char> warp_tokens;
  std::vector<Shared> shared;
  size_t shared_bytes = 0;
  std::vector<Lane> lanes;
};

struct Machine {
  Settings settings;
  std::mt19937 random{1};
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  Fiber host;
  Lane* current = nullptr;
  const char* kernel = "";
  std::string error;
  cudaError_t code = cudaSuccess;
  void (*entry)(void*) = nullptr;
  void* argument = nullptr;
  char begun = 0, ended = 0;  // of a launch: tokens of the order of memory
};
inline Machine machine;
constexpr size_t kStack = 64 * 1024, kSharedLimit = 48 * 1024;

inline void fail(cudaError_t code, const std::string& text) {
  if (machine.code == cudaSuccess) machine.code = code, machine.error = "emulation: " + text;
}

EMULATION_UNSEEN __attribute__((noinline)) inline void switch_to(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
  swapcontext(&from.context, &to.context);
  const void* bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(from.fake_stack, &bottom, &size);
#elif defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.tsan, __tsan_switch_to_fiber_no_sync);
  swapcontext(&from.context, &to.context);
#else
  if (_setjmp(from.jump)) return;
  if (to.started) _longjmp(to.jump, 1);
  to.started = true;
  setcontext(&to.context);
#endif
}

// While it lives, what this lane (or the host) touches is the emulation's own affair and no race of the kernel's.
struct Unseen {
#ifdef __SANITIZE_THREAD__
  Unseen() { AnnotateIgnoreReadsBegin("", 0), AnnotateIgnoreWritesBegin("", 0); }
  ~Unseen() { AnnotateIgnoreReadsEnd("", 0), AnnotateIgnoreWritesEnd("", 0); }
#else
  Unseen() {}
#endif
};

// Gives the turn back to the scheduler; returns when it is this lane's turn again.
EMULATION_UNSEEN inline void wait(State state) {
  Lane& lane = *machine.current;
  lane.state = state;
  switch_to(*lane.fiber, machine.host);
}

EMULATION_UNSEEN inline void order_memory(const void* token, bool release) {
#ifdef __SANITIZE_THREAD__
  if (release) {
    __tsan_release(const_cast<void*>(token));
  } else {
    __tsan_acquire(const_cast<void*>(token));
  }
#else
  (void)token, (void)release;
#endif
}

EMULATION_UNSEEN inline void fiber_main() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &machine.host.bottom, &machine.host.size);
#endif
  for (;;) {
    order_memory(&machine.begun, false);
    machine.entry(machine.argument);
    order_memory(&machine.ended, true);
    wait(kDone);
  }
}

inline Fiber* take_fiber() {
  if (machine.idle.empty()) {
    machine.fibers.push_back(std::make_unique<Fiber>());
    machine.idle.push_back(machine.fibers.back().get());
  }
  Fiber* fiber = machine.idle.back();
  machine.idle.pop_back();
#ifdef __SANITIZE_THREAD__
  fiber->tsan = __tsan_create_fiber(0);  // a lane must not inherit what another lane has seen
#else
  if (fiber->stack != nullptr) return fiber;  // waits in fiber_main for another lane
#endif
  fiber->stack.reset(new char[kStack]);  // new to TSan, too, which would see two lanes on one stack
  fiber->bottom = fiber->stack.get();
  fiber->size = kStack;
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStack;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, fiber_main, 0);
  return fiber;
}

inline void give_back(Lane& lane) {
#ifdef __SANITIZE_THREAD__
  __tsan_destroy_fiber(lane.fiber->tsan);
#endif
  machine.idle.push_back(lane.fiber);
  lane.fiber = nullptr;
}

// Lets a barrier go on if all lanes that still run are there.
inline void release_barrier(Block& block) {
  if (block.at_barrier == 0 || block.at_barrier != block.live) return;
  if (block.exited > 0) fail(cudaErrorLaunchFailure, "__syncthreads() after " + std::to_string(block.exited) + " lanes had left");
  for (Lane& lane : block.lanes) {
    if (lane.state == kAtBarrier) lane.state = kReady;
  }
  block.result_or = std::exchange(block.pending_or, false);
  block.at_barrier = 0;
  ++block.barriers;
}

// The same for a vote or shuffle of one warp.
inline void release_exchange(Block& block, unsigned warp) {
  Lane* lanes = block.lanes.data() + warp * 32;
  const unsigned width = std::min<size_t>(32, block.lanes.size() - warp * 32);
  unsigned mask = 0;
  for (unsigned k = 0; k < width && mask == 0; ++k) mask = lanes[k].state == kAtExchange ? lanes[k].mask : 0;
  for (unsigned k = 0; k < 32; ++k) {
    if (!(mask >> k & 1)) continue;
    if (k >= width || lanes[k].state == kDone) {
      return fail(cudaErrorLaunchFailure, "a vote or shuffle waits for lane " + std::to_string(k) + ", which has left");
    }
    if (lanes[k].state != kAtExchange) return;
    if (lanes[k].mask != mask) return fail(cudaErrorLaunchFailure, "lanes of one vote or shuffle name different masks");
  }
  for (unsigned k = 0; k < width; ++k) {
    if (!(mask >> k & 1)) continue;
    for (unsigned other = 0; other < 32; ++other) lanes[k].taken[other] = mask >> other & 1 ? lanes[other].given : 0;
  }
  for (unsigned k = 0; k < width; ++k) {
    if (mask >> k & 1) lanes[k].state = kReady;
  }
}

inline void run(Lane& lane) {
  if (lane.state == kFresh) lane.fiber = take_fiber();
  machine.current = &lane;
  blockIdx = lane.block->index;
  threadIdx = dim3(lane.thread % blockDim.x, lane.thread / blockDim.x % blockDim.y, lane.thread / (blockDim.x * blockDim.y));
#ifdef __SANITIZE_THREAD__
  machine.host.tsan = __tsan_get_current_fiber();
#endif
  switch_to(machine.host, *lane.fiber);
  machine.current = nullptr;
  Block& block = *lane.block;
  if (lane.state == kDone) {
    give_back(lane);
    --block.live;
    ++block.exited;
  }
  release_barrier(block);
  release_exchange(block, lane.thread / 32);
}

// Runs the blocks of one wave until all their lanes are done.
inline void run_wave(std::vector<std::unique_ptr<Block>>& blocks) {
  const Order order = machine.settings.order;
  std::vector<Lane*> turn;
  for (auto& block : blocks) {
    for (Lane& lane : block->lanes) turn.push_back(&lane);
  }
  if (order == kReverse) std::reverse(turn.begin(), turn.end());
  for (size_t left = turn.size(); left > 0 && machine.code == cudaSuccess;) {
    if (order == kRandom) std::shuffle(turn.begin(), turn.begin() + left, machine.random);
    bool moved = false;
    for (size_t k = 0; k < left && machine.code == cudaSuccess; ++k) {
      if (turn[k]->state != kFresh && turn[k]->state != kReady) continue;
      run(*turn[k]);
      moved = true;
    }
    if (!moved) return fail(cudaErrorLaunchFailure, "deadlock: lanes wait at a barrier or vote that others never reach");
    left = std::stable_partition(turn.begin(), turn.begin() + left, [](Lane* l) { return l->state != kDone; }) - turn.begin();
  }
}

// `name<<<grid, block, 0, stream>>>(…)`. Blocks and lanes run in the chosen order.
template <class F>
void launch(const char* name, dim3 grid, dim3 block, size_t, cudaStream_t, const F& kernel) {
  const size_t threads = static_cast<size_t>(block.x) * block.y * block.z;
  const bool sound = grid.x > 0 && grid.x <= 0x7fffffffu && grid.y > 0 && grid.y <= 65535 && grid.z > 0 && grid.z <= 65535 &&
                     threads > 0 && threads <= 1024 && block.z <= 64;
  if (!sound) return fail(cudaErrorInvalidConfiguration, "grid or block out of limits");
  if (machine.code != cudaSuccess) return;
  machine.kernel = name;
  gridDim = grid;
  blockDim = block;
  machine.entry = [](void* f) { (*static_cast<const F*>(f))(); };
  machine.argument = const_cast<F*>(&kernel);
  machine.host.started = true;
  const uint64_t count = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
  order_memory(&machine.begun, true);
  const Unseen unseen;
  std::vector<uint64_t> order(machine.settings.order == kRandom ? count : 0);
  for (uint64_t k = 0; k < order.size(); ++k) order[k] = k;
  std::shuffle(order.begin(), order.end(), machine.random);
  std::vector<std::unique_ptr<Block>> wave;
  for (uint64_t k = 0; k < count && machine.code == cudaSuccess; ++k) {
    const uint64_t b = !order.empty() ? order[k] : machine.settings.order == kReverse ? count - 1 - k : k;
    auto next = std::make_unique<Block>();
    next->index = dim3(b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y);
    next->live = static_cast<int>(threads);
    next->shared.reserve(16);
    next->warp_tokens.resize((threads + 31) / 32);
    next->lanes.resize(threads);
    for (size_t t = 0; t < threads; ++t) next->lanes[t].block = next.get(), next->lanes[t].thread = t;
    wave.push_back(std::move(next));
    if (wave.size() == static_cast<size_t>(machine.settings.resident) || k + 1 == count) {
      run_wave(wave);
      wave.clear();
    }
  }
  order_memory(&machine.ended, false);
}

EMULATION_UNSEEN inline bool barrier(int line, bool value) {
  Block& block = *machine.current->block;
  if (block.at_barrier > 0 && block.barrier_line != line) {
    fail(cudaErrorLaunchFailure, "lanes of a block wait at different barriers");
  }
  block.barrier_line = line;
  block.pending_or |= value;
  ++block.at_barrier;
  const char* token = &block.tokens[block.barriers % 2];
  order_memory(token, true);
  wait(kAtBarrier);
  order_memory(token, false);
  return block.result_or;
}

// The values that the lanes of `mask` bring.
EMULATION_UNSEEN inline const uint64_t* exchange(unsigned mask, uint64_t value) {
  Lane& lane = *machine.current;
  if (!(mask >> lane.thread % 32 & 1)) fail(cudaErrorLaunchFailure, "a vote or shuffle by a lane outside its mask");
  lane.mask = mask;
  lane.given = value;
  wait(kAtExchange);
  return lane.taken;
}

EMULATION_UNSEEN inline void sync_warp(unsigned mask) {
  const char* token = &machine.current->block->warp_tokens[machine.current->thread / 32];
  order_memory(token, true);
  exchange(mask, 0);
  order_memory(token, false);
}

// A `__shared__` variable of the current block.
template <class A>
EMULATION_UNSEEN A& shared(int id) {
  const Unseen unseen;
  Block& block = *machine.current->block;
  for (Shared& variable : block.shared) {
    if (variable.id == id) return *reinterpret_cast<A*>(variable.memory.get());
  }
  char* memory = static_cast<char*>(::operator new[](sizeof(A), kAlignment));
  block.shared.push_back({id, sizeof(A), std::unique_ptr<char[], FreeAligned>(memory)});
  std::memset(memory, 0xff, sizeof(A));
  block.shared_bytes += sizeof(A);
  if (block.shared_bytes > kSharedLimit) fail(cudaErrorInvalidConfiguration, "more than 48 KiB of static shared memory");
  return *reinterpret_cast<A*>(memory);
}

// An atomic reads and writes here; for accesses.cpp.
#ifdef EMULATION_ACCESSES
void touch(const void* address, unsigned size);
#else
inline void touch(const void*, unsigned) {}
#endif

inline void at_atomic() {
  const auto loses_turn = [] {
    const Unseen unseen;
    return machine.settings.preempt && (machine.random() & 3) == 0;
  };
  if (loses_turn()) wait(kReady);
}

}  // namespace emulation
