// Parts of a training that fail on request (core/faults.h); built only when PIXELBERT_FAULTS asks for one.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "objectives/objective.h"

namespace pixelbert::jobs {

// nan-loss and nan-gradient: the loss, or only its gradient, is not a number in that step of an epoch.
std::shared_ptr<objectives::Objective> with_faults(std::shared_ptr<objectives::Objective> objective, int rank);

// skip-collective: this rank leaves out the sum of the losses, after which `step` are done. `control` outlives it.
std::unique_ptr<comm::Communicator> with_faults(comm::Communicator& control);

}  // namespace pixelbert::jobs
