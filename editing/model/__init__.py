"""One loaded language model: its weights, where it can be edited, and how much memory it takes."""

from editing.model.bfloat16 import processor
from editing.model.experts import Expert, expert_at, holder_and_index, routing
from editing.model.head import TIED, embedding_path, head_site, own_head, path_of, tied_head
from editing.model.hooks import Hook, attached, hooked
from editing.model.language_model import LanguageModel
from editing.model.load import check_device, check_model, find_device, load_resolved
from editing.model.memory import (
    USABLE,
    MemoryPlan,
    covariance_groups,
    format_plan,
    free_memory,
    largest_scale,
    plan_memory,
    search_tokens,
)
from editing.model.norms import OutputNorm, output_norm
from editing.model.offload import device_of, other_names, paths_of_weight, true_tensor
from editing.model.probing import entering, find_experts, linear_shape, own_cache, routed, with_entering
from editing.model.sites import EXPERT, HEAD, KINDS, Layout, Site, find_layout, in_rows, only_rows
from editing.model.weights import WeightWriter, evaluating, hash_weights, weight_versions

__all__ = [
    "EXPERT",
    "HEAD",
    "KINDS",
    "TIED",
    "USABLE",
    "Expert",
    "Hook",
    "LanguageModel",
    "Layout",
    "MemoryPlan",
    "OutputNorm",
    "Site",
    "WeightWriter",
    "attached",
    "check_device",
    "check_model",
    "covariance_groups",
    "device_of",
    "embedding_path",
    "entering",
    "evaluating",
    "expert_at",
    "find_device",
    "find_experts",
    "find_layout",
    "format_plan",
    "free_memory",
    "hash_weights",
    "head_site",
    "holder_and_index",
    "hooked",
    "in_rows",
    "largest_scale",
    "linear_shape",
    "load_resolved",
    "only_rows",
    "other_names",
    "output_norm",
    "own_cache",
    "own_head",
    "path_of",
    "paths_of_weight",
    "plan_memory",
    "processor",
    "routed",
    "routing",
    "search_tokens",
    "tied_head",
    "true_tensor",
    "weight_versions",
    "with_entering",
]
