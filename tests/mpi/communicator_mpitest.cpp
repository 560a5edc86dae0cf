#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <chrono>
#include <memory>
#include <thread>

#include "comm/make_communicator.h"
#include "comm/mpi_communicator.h"
#include "comm/texts.h"
#include "core/check.h"
#include "tests/support/mpi_test.h"
#include "tests/support/tree_sum.h"

namespace pixelbert::comm {
namespace {

using test::session;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Returns the content on `rank`: small whole numbers, so that sums are exact in every type.
at::Tensor content(int rank, std::int64_t size, at::ScalarType type) {
  return ((at::arange(size, at::kLong) * (rank + 3)) % 11).to(type);
}

at::Tensor expected(std::int64_t size, at::ScalarType type, ReduceOp op) {
  at::Tensor result = content(0, size, type);
  for (int rank = 1; rank < session().world_size(); ++rank) {
    const at::Tensor other = content(rank, size, type);
    if (op == ReduceOp::Sum) result = result + other;
    if (op == ReduceOp::Min) result = at::minimum(result, other);
    if (op == ReduceOp::Max) result = at::maximum(result, other);
  }
  return result;
}

void expect_every_type_and_operation(Communicator& communicator, std::int64_t size) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kLong, at::kInt, at::kByte}) {
    for (const ReduceOp op : {ReduceOp::Sum, ReduceOp::Min, ReduceOp::Max}) {
      const at::Tensor tensor = content(communicator.rank(), size, type);
      communicator.all_reduce(tensor, op)->wait();
      EXPECT_TRUE(at::equal(tensor, expected(size, type, op)))
          << c10::toString(type) << ", operation " << static_cast<int>(op) << ", " << size << " elements";
    }
  }
}

void expect_same_bits_on_all_ranks(Communicator& communicator, const at::Tensor& tensor) {
  at::Tensor first = tensor.clone();
  communicator.broadcast(first, 0);
  EXPECT_TRUE(at::equal(tensor, first)) << tensor.numel() << " elements";
}

TEST(MpiCommunicator, KnowsItsRankAndWorld) {
  const MpiCommunicator communicator(session());
  EXPECT_EQ(communicator.rank(), session().rank());
  EXPECT_EQ(communicator.world_size(), session().world_size());
}

TEST(MpiCommunicator, ReducesEveryTypeAndOperation) {
  MpiCommunicator communicator(session());
  for (const std::int64_t size : {0, 1, 2, 5, 1000, 70001}) expect_every_type_and_operation(communicator, size);
}

TEST(Texts, OfEveryRankReachEveryRank) {
  MpiCommunicator communicator(session());
  const std::vector<std::string> all =
      gather_texts(std::string(static_cast<std::size_t>(session().rank()), 'x'), communicator);
  ASSERT_EQ(std::ssize(all), session().world_size());
  for (std::size_t rank = 0; rank < all.size(); ++rank) EXPECT_EQ(all[rank], std::string(rank, 'x'));
  for (int root = 0; root < session().world_size(); ++root) {
    EXPECT_EQ(broadcast_text(std::to_string(session().rank()), communicator, root), std::to_string(root));
  }
}

TEST(MpiCommunicator, ReducesInPieces) {
  for (const std::int64_t piece_bytes : {1, 3, 24, 4096}) {  // below one element too
    MpiCommunicator communicator(session(), piece_bytes);
    for (const std::int64_t size : {0, 1, 3, 10, 1001}) expect_every_type_and_operation(communicator, size);
  }
}

TEST(MpiCommunicator, GivesEveryRankTheSameBits) {
  MpiCommunicator communicator(session(), 64 << 10);
  at::manual_seed(session().rank());
  for (const std::int64_t size : {1, 7, 300, 5000, 100003}) {
    const at::Tensor tensor = at::randn({size});
    communicator.all_reduce(tensor, ReduceOp::Sum)->wait();
    expect_same_bits_on_all_ranks(communicator, tensor);
  }
}

// Runs of leaves of every kind: one for each rank, none on some, several on others.
std::vector<SumTree> trees() {
  const int ranks = session().world_size();
  std::vector<SumTree> trees;
  for (const std::int64_t leaves : {1, 2, 3, 5, 8, 13}) {
    std::vector<std::int64_t> even = {0}, last = {0};
    for (int rank = 1; rank <= ranks; ++rank) {
      even.push_back(leaves * rank / ranks);
      last.push_back(rank == ranks ? leaves : std::min<std::int64_t>(leaves, rank / 2));
    }
    trees.emplace_back(even);
    trees.emplace_back(last);
  }
  return trees;
}

TEST(MpiCommunicator, SumsAlongTheTreeInPieces) {
  for (const std::int64_t piece_bytes : std::initializer_list<std::int64_t>{1, 8192, MpiCommunicator::kPieceBytes}) {
    MpiCommunicator communicator(session(), piece_bytes);
    for (const SumTree& tree : trees()) {
      for (const std::int64_t size : {1, 15, 1000, 30011}) {
        for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
          at::manual_seed(size);
          std::vector<at::Tensor> leaves, own;
          for (std::int64_t i = 0; i < tree.leaves(); ++i) leaves.push_back(test::numbers_of_all_sizes(size, type));
          for (std::int64_t i = tree.first_leaf(session().rank()); i < tree.end_leaf(session().rank()); ++i) {
            own.push_back(leaves[i].clone());
          }
          at::Tensor result = at::full({size}, NAN, type);
          sum_leaves(tree, own, result, communicator);
          EXPECT_TRUE(test::same_bits(result, test::tree_sum(std::span<const at::Tensor>(leaves))))
              << tree.leaves() << " leaves, " << size << " of " << c10::toString(type) << ", pieces of " << piece_bytes;
        }
      }
    }
  }
}

TEST(MpiCommunicator, ReducesAChannelsLastTensorInItsMemoryOrder) {
  MpiCommunicator communicator(session(), 20);
  const at::Tensor values = at::arange(2 * 3 * 4 * 5, at::kFloat).view({2, 3, 4, 5});
  const at::Tensor tensor = values.clone().contiguous(at::MemoryFormat::ChannelsLast);
  communicator.all_reduce(tensor, ReduceOp::Sum)->wait();
  EXPECT_TRUE(at::equal(tensor, values * session().world_size()));
}

TEST(MpiCommunicator, KeepsManyCollectivesApartWhateverTheOrderOfWaiting) {
  MpiCommunicator communicator(session(), 100);
  std::vector<at::Tensor> tensors;
  std::vector<std::unique_ptr<Work>> works;
  for (int i = 0; i < 20; ++i) {
    tensors.push_back(at::full({i * 7 + 1}, i + session().rank(), at::kLong));
    works.push_back(communicator.all_reduce(tensors.back(), ReduceOp::Max));
  }
  while (!works.empty()) {
    works.back()->wait();
    works.pop_back();
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(at::equal(tensors[i], at::full({i * 7 + 1}, i + session().world_size() - 1, at::kLong))) << i;
  }
}

// Like the control and the gradient communicator of one job.
TEST(MpiCommunicator, DoesNotMeetAnotherOneOfTheSameJob) {
  MpiCommunicator one(session());
  MpiCommunicator other(session());
  const at::Tensor a = at::ones({50000});
  const at::Tensor b = at::ones({50000}) * 10;
  const bool even = session().rank() % 2 == 0;
  auto first = (even ? one : other).all_reduce(even ? a : b, ReduceOp::Sum);
  auto second = (even ? other : one).all_reduce(even ? b : a, ReduceOp::Sum);
  first->wait();
  second->wait();
  EXPECT_TRUE(at::equal(a, at::full({50000}, 1.0 * session().world_size())));
  EXPECT_TRUE(at::equal(b, at::full({50000}, 10.0 * session().world_size())));
}

TEST(MpiCommunicator, BroadcastsAnyTypeFromAnyRank) {
  MpiCommunicator communicator(session());
  for (int root = 0; root < session().world_size(); ++root) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kLong, at::kByte, at::kBFloat16, at::kBool}) {
      const at::Tensor tensor = content(session().rank(), 1000, type);
      communicator.broadcast(tensor, root);
      EXPECT_TRUE(at::equal(tensor, content(root, 1000, type))) << c10::toString(type) << " from rank " << root;
    }
  }
}

TEST(MpiCommunicator, HoldsEveryRankInABarrierUntilTheLastHasCome) {
  using Clock = std::chrono::system_clock;  // one host, so all ranks read the same clock
  MpiCommunicator communicator(session());
  const int last = session().world_size() - 1;
  if (session().rank() == last) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  at::Tensor came = at::tensor({static_cast<std::int64_t>(Clock::now().time_since_epoch().count())}, at::kLong);
  communicator.barrier();
  const std::int64_t left = Clock::now().time_since_epoch().count();
  communicator.broadcast(came, last);
  EXPECT_GE(left, came.item<std::int64_t>());
}

TEST(MpiCommunicator, RefusesWhatItCannotReduce) {
  MpiCommunicator communicator(session());
  EXPECT_THAT([&] { (void)communicator.all_reduce(at::zeros({2}, at::kHalf), ReduceOp::Sum); },
              ThrowsMessage<Error>(HasSubstr("expected float32, float64, int64, int32 or uint8, found Half")));
  EXPECT_THAT([&] { (void)communicator.all_reduce(at::zeros({4, 4}).select(1, 0), ReduceOp::Sum); },
              ThrowsMessage<Error>(HasSubstr("expected a tensor without gaps, found shape [4] with strides [4]")));
  EXPECT_THAT([&] { communicator.broadcast(at::zeros({2}), session().world_size()); },
              ThrowsMessage<Error>(HasSubstr("expected a root from 0 to")));
}

TEST(MpiCommunicator, TakesARankThatDoesNotComeForLost) {
  const bool late = session().rank() == 0;
  MpiCommunicator communicator(session(), MpiCommunicator::kPieceBytes, std::chrono::milliseconds(late ? 60000 : 200));
  MpiCommunicator world(session());
  if (!late) {
    EXPECT_THAT([&] { communicator.barrier(); },
                ThrowsMessage<Error>(HasSubstr("expected every rank at this call within 0.2 s")));
    EXPECT_THROW(communicator.broadcast(at::zeros({1}), 0), Error) << "from then on nothing leaves this rank";
  }
  world.barrier();
  if (late) communicator.barrier();  // MPI does not end before a started collective
  world.barrier();
}

TEST(MpiCommunicator, MovesTensorsBetweenTwoRanks) {
  MpiCommunicator communicator(session());
  const int ranks = session().world_size(), rank = session().rank();
  for (const std::int64_t size : {0, 1, 1000, 3'000'000}) {  // also larger than MPI sends without an answer
    for (int from = 0; from < ranks; ++from) {
      const int to = (from + 1) % ranks;
      const at::Tensor sent = at::arange(size, at::kDouble) * (from + 1);
      if (from == to) continue;
      if (rank == from) communicator.send(sent, to);
      if (rank != to) continue;
      const at::Tensor received = at::zeros({size}, at::kDouble);
      communicator.receive(received, from);
      EXPECT_TRUE(at::equal(received, sent)) << size << " numbers from rank " << from;
    }
  }
}

TEST(MpiCommunicator, AddsNothingWhereARankHasLeftACallOut) {
  MpiCommunicator communicator(session(), MpiCommunicator::kPieceBytes, std::chrono::seconds(3));
  const at::Tensor tensor = at::ones({session().rank() == 0 ? 2 : 3});
  const auto add = [&] { communicator.all_reduce(tensor, ReduceOp::Sum)->wait(); };
  if (session().world_size() == 1) {
    EXPECT_NO_THROW(add()) << "a rank agrees with itself";
  } else {
    EXPECT_THAT(add, ThrowsMessage<Error>(HasSubstr("expected the same call on every rank")));
  }
  EXPECT_TRUE(at::equal(tensor, at::ones_like(tensor)));
}

TEST(MpiCommunicator, EndsWithoutWaitingForRanksThatDoNotCome) {
  auto communicator = std::make_unique<MpiCommunicator>(session());
  MpiCommunicator world(session());
  const at::Tensor tensor = at::ones({10});
  if (session().rank() > 0) {
    (void)communicator->all_reduce(tensor, ReduceOp::Sum);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));  // its thread is now waiting for rank 0
    communicator.reset();  // would hang here: rank 0 has not passed the barrier below
  }
  world.barrier();
  if (session().rank() == 0) communicator->all_reduce(tensor, ReduceOp::Sum)->wait();
  world.barrier();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the threads left behind end before MPI does
}

TEST(ChooseDevice, TakesTheCpuWhereAskedOrWhereThereIsNoGpu) {
  const auto control = make_control_communicator(session());
  EXPECT_TRUE(choose_device(Device::Cpu, session(), *control).is_cpu());
  EXPECT_EQ(choose_device(Device::Auto, session(), *control).is_cpu(), cuda_version().starts_with("none: "));
}

TEST(ChooseDevice, SaysWhyThereIsNoCuda) {
  if (!cuda_version().starts_with("none: ")) return;
  const auto control = make_control_communicator(session());
  EXPECT_THAT([&] { choose_device(Device::Cuda, session(), *control); },
              ThrowsMessage<SharedError>(AllOf(HasSubstr("--train.device cuda on "), HasSubstr(": no NVIDIA driver"))));
}

TEST(MakeCommunicator, GivesARankAloneOneThatDoesNothing) {
  auto control = make_control_communicator(session());
  auto tensors = make_device_communicator(at::kCPU, session(), *control);
  const at::Tensor tensor = at::ones({3});
  tensors->all_reduce(tensor, ReduceOp::Sum)->wait();
  EXPECT_TRUE(at::equal(tensor, at::full({3}, 1.0 * session().world_size())));
  EXPECT_EQ(dynamic_cast<MpiCommunicator*>(control.get()) == nullptr, session().world_size() == 1);
  control->barrier();
}

}  // namespace
}  // namespace pixelbert::comm
