// How many threads read calls, and that they stay awake. For the callback API of gRPC 1.51, whose own rules
// cost a server of short calls its tail:
//
// - It makes max(2, cores of the machine / 2) threads (at most 16), in a container with one CPU, too. With
// more threads
//   than CPUs each call is handed from thread to thread: on one CPU two threads take twice the CPU time a
//   call at half load, and a call waits for time slices (tests/bench/README.md, section Serving).
// - A thread that has had nothing to do for a second sleeps for 100 ms without looking at its sockets: on a
//   server with little to do, calls wait that long when all of its threads happen to sleep.
//
// Neither can be set. So superfluous threads are kept in a callback until the end, and a call that ends at
// once is made every 250 ms: who takes it up stays awake for another second.
#ifndef SWIFTLET_SERVER_IO_THREADS_H_
#define SWIFTLET_SERVER_IO_THREADS_H_

#include <memory>

namespace swiftlet {

// The CPUs that this process may use: of its affinity, and of its control group's quota, rounded up. At
// least 1.
int AvailableCpus();

// At most one in a process, from before its grpc::Server starts until after it is gone.
class IoThreads {
 public:
  // Leaves `num_threads` of gRPC's threads, but at least 1, and no more than there are. 0: AvailableCpus().
  // With another gRPC, whose callbacks run on other threads, does nothing.
  explicit IoThreads(int num_threads);
  ~IoThreads();
  IoThreads(const IoThreads&) = delete;
  IoThreads& operator=(const IoThreads&) = delete;

  // Threads that read calls; 0: unknown, gRPC does as it likes.
  int num_threads() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace swiftlet

#endif  // SWIFTLET_SERVER_IO_THREADS_H_
