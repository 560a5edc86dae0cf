// NcclCommunicator on simulated GPUs, one for each thread. Every test writes its values behind a slow kernel and reads
// them at once afterwards, so that a stream that does not wait is seen.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/gradient_reducer.h"
#include "core/check.h"
#include "cuda/nccl_communicator.h"
#include "tests/simulated_cuda/runtime.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tree_sum.h"

namespace pixelbert::cuda {
namespace {

using comm::ReduceOp;
using testing::HasSubstr;
using testing::ThrowsMessage;
using namespace std::chrono_literals;

at::Device device_of(int rank) {
  return {at::kCUDA, static_cast<c10::DeviceIndex>(rank)};
}

// What one rank of a test has.
struct Rank {
  comm::Communicator& control;
  NcclCommunicator& nccl;
  int number;
  int ranks;

  at::Tensor on_device(const at::Tensor& values) const { return values.to(device_of(number)); }
};

void slow_kernel() {
  simulated_launch(c10::cuda::getCurrentCUDAStream(), [] { std::this_thread::sleep_for(5ms); });
}

// Copies `values` into `tensor` behind a slow kernel.
void write_slowly(const at::Tensor& tensor, const at::Tensor& values) {
  slow_kernel();
  tensor.copy_(values, /*non_blocking=*/true);
}

void on_ranks(const std::vector<int>& host_of_rank, const std::function<void(const Rank&)>& test,
              std::chrono::seconds timeout = 20s) {
  test::ThreadRanks(host_of_rank).run([&](comm::Communicator& control) {
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(control.rank()));
    NcclCommunicator nccl(control, host_of_rank, control.rank(), timeout);
    test({control, nccl, control.rank(), control.world_size()});
  });
}

std::vector<int> one_host(int ranks) {
  return std::vector<int>(static_cast<std::size_t>(ranks), 0);
}

// Small whole numbers, so that sums are exact in every type.
at::Tensor content(int rank, std::int64_t size, at::ScalarType type) {
  return ((at::arange(size, at::kLong) * (rank + 3)) % 11).to(type);
}

at::Tensor expected(int ranks, std::int64_t size, at::ScalarType type, ReduceOp op) {
  at::Tensor result = content(0, size, type);
  for (int rank = 1; rank < ranks; ++rank) {
    const at::Tensor other = content(rank, size, type);
    if (op == ReduceOp::Sum) result = result + other;
    if (op == ReduceOp::Min) result = at::minimum(result, other);
    if (op == ReduceOp::Max) result = at::maximum(result, other);
  }
  return result;
}

constexpr std::int64_t kLarge = 70001;  // more than a ring holds

TEST(NcclCommunicator, ReducesEveryTypeAndOperation) {
  for (const int ranks : {1, 2, 3}) {
    on_ranks(one_host(ranks), [](const Rank& rank) {
      EXPECT_EQ(rank.nccl.rank(), rank.number);
      EXPECT_EQ(rank.nccl.world_size(), rank.ranks);
      for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kLong, at::kInt, at::kByte}) {
        for (const ReduceOp op : {ReduceOp::Sum, ReduceOp::Min, ReduceOp::Max}) {
          const std::int64_t size = type == at::kDouble ? kLarge : 5;
          const at::Tensor tensor = rank.on_device(at::zeros({size}, type));
          write_slowly(tensor, content(rank.number, size, type));
          rank.nccl.all_reduce(tensor, op)->wait();
          EXPECT_TRUE(at::equal(tensor.cpu(), expected(rank.ranks, size, type, op)))
              << c10::toString(type) << ", operation " << static_cast<int>(op);
        }
      }
    });
  }
}

TEST(NcclCommunicator, SumsAlongTheTree) {
  for (const std::vector<int>& hosts : std::vector<std::vector<int>>{{0}, {0, 0}, {0, 1}, {0, 0, 0}, {0, 0, 1, 1}}) {
    const int ranks = static_cast<int>(hosts.size());
    for (const std::int64_t leaf_count : {1, 5}) {
      std::vector<std::int64_t> bounds = {0};
      for (int rank = 1; rank <= ranks; ++rank) bounds.push_back(leaf_count * rank / ranks);
      const comm::SumTree tree(bounds);
      at::manual_seed(leaf_count);
      std::vector<at::Tensor> leaves;
      for (std::int64_t i = 0; i < leaf_count; ++i) leaves.push_back(test::numbers_of_all_sizes(30011));
      const at::Tensor sum = test::tree_sum(std::span<const at::Tensor>(leaves));
      on_ranks(hosts, [&](const Rank& rank) {
        std::vector<at::Tensor> own;
        for (std::int64_t i = tree.first_leaf(rank.number); i < tree.end_leaf(rank.number); ++i) {
          own.push_back(rank.on_device(at::zeros_like(leaves[0])));
          write_slowly(own.back(), leaves[static_cast<std::size_t>(i)]);
        }
        const at::Tensor result = rank.on_device(at::full_like(leaves[0], NAN));
        comm::sum_leaves(tree, own, result, rank.nccl);
        EXPECT_TRUE(test::same_bits(result.cpu(), sum)) << leaf_count << " leaves on " << ranks << " ranks";
      });
    }
  }
}

TEST(NcclCommunicator, BroadcastsFromEveryRank) {
  on_ranks(one_host(3), [](const Rank& rank) {
    for (int root = 0; root < rank.ranks; ++root) {
      for (const at::ScalarType type : {at::kDouble, at::kBFloat16, at::kBool}) {
        const at::Tensor tensor = rank.on_device(at::zeros({kLarge}, type));
        write_slowly(tensor, content(rank.number, kLarge, type));
        rank.nccl.broadcast(tensor, root);
        EXPECT_TRUE(at::equal(tensor.cpu(), content(root, kLarge, type))) << c10::toString(type) << " from " << root;
      }
    }
  });
}

TEST(NcclCommunicator, MovesTensorsBetweenTwoRanks) {
  on_ranks(one_host(3), [](const Rank& rank) {
    for (int from = 0; from < rank.ranks; ++from) {
      const int to = (from + 1) % rank.ranks;
      const at::Tensor tensor = rank.on_device(at::zeros({kLarge}));
      if (rank.number == from) {
        write_slowly(tensor, content(from, kLarge, at::kFloat));
        rank.nccl.send(tensor, to);
        tensor.fill_(-1);  // behind the sending
      }
      if (rank.number == to) {
        write_slowly(tensor, at::ones({kLarge}));  // before the receiving
        rank.nccl.receive(tensor, from);
        EXPECT_TRUE(at::equal(tensor.cpu(), content(from, kLarge, at::kFloat))) << "from rank " << from;
      }
    }
  });
}

TEST(NcclCommunicator, KeepsMemoryUntilItHasBeenUsed) {
  on_ranks(one_host(2), [](const Rank& rank) {
    std::unique_ptr<comm::Work> work;
    const void* memory = nullptr;
    std::atomic<bool> begin = false;  // the sum
    {
      const at::Tensor dropped = rank.on_device(at::ones({1000}));
      memory = dropped.const_data_ptr();
      simulated_launch(c10::cuda::getCurrentCUDAStream(), [&] {
        while (!begin) std::this_thread::sleep_for(1ms);
      });
      work = rank.nccl.all_reduce(dropped, ReduceOp::Sum);
    }
    const at::Tensor next = at::zeros({1000}, device_of(rank.number));
    EXPECT_NE(next.const_data_ptr(), memory);
    begin = true;
    work->wait();
    EXPECT_EQ(next.cpu().count_nonzero().item<std::int64_t>(), 0);
  });
}

TEST(NcclCommunicator, HoldsTheHostInABarrierUntilEarlierCollectivesHaveEnded) {
  on_ranks(one_host(2), [](const Rank& rank) {
    std::atomic<bool> done = false;
    const at::Tensor tensor = rank.on_device(at::ones({1}));
    simulated_launch(c10::cuda::getCurrentCUDAStream(), [&] {
      std::this_thread::sleep_for(20ms);
      done = true;
    });
    (void)rank.nccl.all_reduce(tensor, ReduceOp::Sum);
    rank.nccl.barrier();
    EXPECT_TRUE(done);
  });
}

TEST(NcclCommunicator, RefusesWhatItCannotReduce) {
  on_ranks(one_host(1), [](const Rank& rank) {
    const auto reduce = [&](const at::Tensor& tensor) { (void)rank.nccl.all_reduce(tensor, ReduceOp::Sum); };
    EXPECT_THAT([&] { reduce(at::zeros({2})); },
                ThrowsMessage<Error>(HasSubstr("expected a tensor on cuda:0, found cpu")));
    EXPECT_THAT([&] { reduce(at::zeros({2}, device_of(1))); },
                ThrowsMessage<Error>(HasSubstr("expected a tensor on cuda:0, found cuda:1")));
    EXPECT_THAT([&] { reduce(at::zeros({4, 4}, device_of(0)).select(1, 0)); },
                ThrowsMessage<Error>(HasSubstr("expected a tensor without gaps")));
    EXPECT_THAT([&] { reduce(at::zeros({2}, at::TensorOptions(device_of(0)).dtype(at::kHalf))); },
                ThrowsMessage<Error>(HasSubstr("found Half")));
  });
}

// Each rank takes the sum of its slice, updates it, and sends the weights on, as in a step.
TEST(NcclCommunicator, GivesTheReducerTheSameBitsAtAnyNumberOfRanks) {
  constexpr int kMicroBatches = 5;
  std::vector<std::vector<at::Tensor>> weights(4);
  std::vector<double> norms(4);
  for (const int ranks : {1, 2, 3}) {
    std::vector<std::int64_t> bounds = {0};
    for (int rank = 1; rank <= ranks; ++rank) bounds.push_back(kMicroBatches * rank / ranks);
    on_ranks(one_host(ranks), [&](const Rank& rank) {
      std::vector<at::Tensor> parameters;
      for (const std::int64_t size : {3000, 5, 70, 9000}) {
        parameters.push_back(rank.on_device(at::arange(size, at::kFloat) / size).requires_grad_());
      }
      comm::GradientReducer reducer(parameters, rank.nccl, 1 << 14);
      for (int step = 0; step < 2; ++step) {
        const comm::SumTree tree(bounds);
        reducer.begin_step(tree);
        for (std::int64_t i = tree.first_leaf(rank.number); i < tree.end_leaf(rank.number); ++i) {
          reducer.begin_micro_batch(i);
          at::Tensor loss;
          for (const at::Tensor& parameter : parameters) {
            slow_kernel();
            const at::Tensor term = (parameter * (0.37 * static_cast<double>(i + step) + 0.11)).sin().sum();
            loss = loss.defined() ? loss + term : term;
          }
          loss.backward();
        }
        reducer.finish();
        const double norm = reducer.gradient_norm().item<double>();
        if (rank.number == 0) norms[static_cast<std::size_t>(ranks)] = norm;
        rank.nccl.check();
        const at::NoGradGuard no_grad;
        for (const comm::Piece& piece : reducer.pieces()) {
          slow_kernel();
          at::Tensor(piece.weights).sub_(piece.weights.grad(), 0.01);
        }
        reducer.gather_weights();
      }
      std::vector<at::Tensor> own;
      for (const at::Tensor& parameter : parameters) own.push_back(parameter.detach().cpu());
      if (rank.number == 0) weights[static_cast<std::size_t>(ranks)] = own;
      rank.control.barrier();
      for (std::size_t i = 0; i < own.size(); ++i) {
        EXPECT_TRUE(test::same_bits(own[i], weights[static_cast<std::size_t>(ranks)][i])) << "rank " << rank.number;
      }
    });
    for (std::size_t i = 0; i < weights[1].size(); ++i) {
      EXPECT_TRUE(test::same_bits(weights[static_cast<std::size_t>(ranks)][i], weights[1][i])) << ranks << " ranks";
    }
    EXPECT_EQ(norms[static_cast<std::size_t>(ranks)], norms[1]);
  }
}

TEST(NcclCommunicator, NoticesALostRank) {
  on_ranks(
      one_host(2),
      [](const Rank& rank) {
        if (rank.number == 0) {
          const at::Tensor tensor = rank.on_device(at::ones({16}));
          const auto work = rank.nccl.all_reduce(tensor, ReduceOp::Sum);
          rank.nccl.check();
          work->wait();
          (void)tensor.cpu();  // the watchdog ends the kernel, and the host goes on
          const auto lost = ThrowsMessage<Error>(HasSubstr("rank 0: NCCL: all_reduce did not end within 1 s"));
          EXPECT_THAT([&] { rank.nccl.check(); }, lost) << "before the results are used";
          EXPECT_THAT([&] { work->wait(); }, lost);
          EXPECT_THAT([&] { (void)rank.nccl.all_reduce(tensor, ReduceOp::Sum); }, lost);
          EXPECT_THAT([&] { rank.nccl.barrier(); }, lost);
        }
        rank.control.barrier();
      },
      1s);
}

TEST(NcclCommunicator, HoldsTheHostInABarrierThatFails) {
  on_ranks(
      one_host(2),
      [](const Rank& rank) {
        if (rank.number == 0) {
          EXPECT_THAT([&] { rank.nccl.barrier(); }, ThrowsMessage<Error>(HasSubstr("barrier did not end within 1 s")));
        }
        rank.control.barrier();
      },
      1s);
}

// A rank that throws aborts its communicator while it receives, and the other one notices. Receiving takes
// longer than the watchdog takes to end, a tenth of a second.
TEST(NcclCommunicator, EndsInTheMiddleOfMessages) {
  test::ThreadRanks(one_host(2)).run([](comm::Communicator& control) {
    const at::Device device = device_of(control.rank());
    c10::cuda::set_device(device.index());
    const at::Tensor tensor = at::ones({8 << 20}, device);
    c10::cuda::getCurrentCUDAStream().synchronize();
    bool thrown = false;
    try {
      NcclCommunicator nccl(control, one_host(2), control.rank(), 1s);
      for (int i = 0; i < 32; ++i) {
        if (control.rank() == 0) {
          nccl.send(tensor, 1);
        } else {
          nccl.receive(tensor, 0);
        }
      }
      if (control.rank() == 1) throw Error("rank 1 ends");
      nccl.barrier();
    } catch (const Error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown) << "rank " << control.rank();
  });
}

// What a rank has sent arrives, also if the rank ends before the other has asked for it.
TEST(NcclCommunicator, EndsOnlyWhenTheOthersHaveWhatItSent) {
  on_ranks(
      one_host(2),
      [](const Rank& rank) {
        const at::Tensor tensor = rank.on_device(at::full({1000}, rank.number));
        if (rank.number == 1) {
          rank.nccl.send(tensor, 0);
          c10::cuda::getCurrentCUDAStream().synchronize();
          return;
        }
        std::this_thread::sleep_for(300ms);
        rank.nccl.receive(tensor, 1);
        EXPECT_TRUE(at::equal(tensor.cpu(), at::ones({1000})));
      },
      2s);
}

}  // namespace
}  // namespace pixelbert::cuda
