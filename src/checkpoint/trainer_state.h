// trainer.json of a checkpoint: where training is, its options and its history.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace pixelbert::checkpoint {

// `content` with everything in place that a run or a command reads of it. Error that begins with `where` and names the
// member that is missing, of another type or out of range, or says that it is not of `step`.
nlohmann::json parse_trainer_state(const std::string& content, std::int64_t step, const std::string& where);

}  // namespace pixelbert::checkpoint
