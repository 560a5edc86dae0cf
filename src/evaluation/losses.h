// Losses and accuracies of an objective over a data set: the evaluation of pre-training.
#pragma once

#include "data/draft.h"
#include "evaluation/pass.h"

namespace pixelbert::evaluation {

// Collective. Returns "mlm_loss", "mlm_accuracy", "itm_loss", ...; the same on every rank and for any number of ranks.
Metrics mean_losses(const Evaluation& evaluation, const data::RowMaker& row_maker);

}  // namespace pixelbert::evaluation
