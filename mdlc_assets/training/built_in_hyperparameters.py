"""The hyperparameters of SageMaker's built-in algorithms, from AWS's guide; checked before anything is paid for.

A line is a name, `!` where it is required, and what it may be: `int 1..`, `float >0..1` (above 0, at most 1),
`text`, or fixed words; `/` separates alternatives.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mdlc_assets.declaration import Problem

_TABLES = {
    "linear-learner": """
        feature_dim int 1..
        num_classes int 3..1000000
        predictor_type! binary_classifier multiclass_classifier regressor
        accuracy_top_k int 1..
        balance_multiclass_weights true false
        beta_1 auto / float 0..1
        beta_2 auto / float 0..1
        bias_lr_mult auto / float >0..
        bias_wd_mult auto / float 0..
        binary_classifier_model_selection_criteria accuracy f_beta precision_at_target_recall \
recall_at_target_precision loss_function
        early_stopping_patience int 1..
        early_stopping_tolerance float >0..
        epochs int 1..
        f_beta float >0..
        huber_delta float >0..
        init_bias float
        init_method uniform normal
        init_scale float >0..
        init_sigma float >0..
        l1 auto / float 0..
        learning_rate auto / float >0..
        loss auto logistic squared_loss absolute_loss hinge_loss eps_insensitive_squared_loss \
eps_insensitive_absolute_loss quantile_loss huber_loss softmax_loss
        loss_insensitivity float >0..
        lr_scheduler_factor auto / float >0..1
        lr_scheduler_minimum_lr auto / float >0..
        lr_scheduler_step auto / int 1..
        margin float >0..
        mini_batch_size int 1..
        momentum auto / float 0..1
        normalize_data auto true false
        normalize_label auto true false
        num_calibration_samples auto / int 1..
        num_models auto / int 1..
        num_point_for_scaler int 1..
        optimizer auto adam sgd rmsprop
        positive_example_weight_mult balanced auto / float >0..
        quantile float >0..1
        target_precision float 0..1
        target_recall float 0..1
        unbias_data auto true false
        unbias_label auto true false
        use_bias true false
        use_lr_scheduler true false
        wd auto / float 0..""",
    "sagemaker-xgboost": """
        num_class int 2..
        num_round! int 1..
        alpha float
        base_score float
        booster gbtree gblinear dart
        colsample_bylevel float 0..1
        colsample_bynode float >0..1
        colsample_bytree float 0..1
        csv_weights 0 1
        deterministic_histogram true false
        early_stopping_rounds int 1..
        eta float 0..1
        eval_metric text
        gamma float 0..
        grow_policy depthwise lossguide
        interaction_constraints text
        lambda float
        lambda_bias float 0..1
        max_bin int 2..
        max_delta_step float 0..
        max_depth int 0..
        max_leaves int 0..
        min_child_weight float 0..
        monotone_constraints text
        normalize_type tree forest
        nthread int 1..
        num_parallel_tree int 1..
        objective text
        one_drop 0 1
        process_type default update
        rate_drop float 0..1
        refresh_leaf 0 1 true false
        sample_type uniform weighted
        scale_pos_weight float
        seed int
        single_precision_histogram true false
        sketch_eps float 0..1
        skip_drop float 0..1
        subsample float 0..1
        tree_method auto exact approx hist gpu_hist
        tweedie_variance_power float >1..2
        updater text
        verbosity int 0..3""",
    "kmeans": """
        k! int 1..
        feature_dim int 1..
        mini_batch_size int 1..
        init_method random kmeans++
        extra_center_factor auto / int 1..
        local_lloyd_max_iter int 1..
        local_lloyd_tol float 0..1
        local_lloyd_init_method random kmeans++
        local_lloyd_num_trials auto / int 1..
        half_life_time_size int 0..
        epochs int 1..
        eval_metrics text""",
    "knn": """
        k! int 1..
        predictor_type! classifier regressor
        sample_size! int 1..
        feature_dim int 1..
        mini_batch_size int 1..
        dimension_reduction_type sign fjlt
        dimension_reduction_target int 1..
        index_type faiss.Flat faiss.IVFFlat faiss.IVFPQ
        index_metric L2 INNER_PRODUCT COSINE
        faiss_index_ivf_nlists auto / int 1..
        faiss_index_pq_m 1 2 3 4 8 12 16 20 24 28 32 40 48 56 64 96""",
    "pca": """
        num_components! int 1..
        mini_batch_size! int 1..
        feature_dim int 1..
        algorithm_mode regular randomized
        subtract_mean true false
        extra_components int -1..""",
    "factorization-machines": """
        feature_dim int 1..
        num_factors! int 1..
        predictor_type! binary_classifier regressor
        mini_batch_size int 1..
        epochs int 1..
        clip_gradient float
        eps float
        rescale_grad float
        bias_lr float 0..
        linear_lr float 0..
        factors_lr float 0..
        bias_wd float 0..
        linear_wd float 0..
        factors_wd float 0..
        bias_init_method uniform normal constant
        bias_init_scale float 0..
        bias_init_sigma float 0..
        bias_init_value float
        linear_init_method uniform normal constant
        linear_init_scale float 0..
        linear_init_sigma float 0..
        linear_init_value float
        factors_init_method uniform normal constant
        factors_init_scale float 0..
        factors_init_sigma float 0..
        factors_init_value float""",
    "forecasting-deepar": """
        context_length! int 1..
        epochs! int 1..
        prediction_length! int 1..
        time_freq! text
        cardinality text
        dropout_rate float 0..1
        early_stopping_patience int 1..
        embedding_dimension int 1..
        learning_rate float >0..
        likelihood gaussian beta negative-binomial student-T deterministic-L1
        mini_batch_size int 1..
        num_cells int 1..
        num_dynamic_feat auto ignore / int 1..
        num_eval_samples int 1..
        num_layers int 1..
        test_quantiles text""",
    "randomcutforest": """
        feature_dim int 1..10000
        eval_metrics text
        num_samples_per_tree int 1..2048
        num_trees int 50..1000""",
    "ipinsights": """
        num_entity_vectors! int 1..250000000
        vector_dim! int 4..4096
        batch_metrics_publish_interval int 1..
        epochs int 1..
        learning_rate float 0.000001..10
        mini_batch_size int 1..500000
        num_ip_encoder_layers int 0..100
        random_negative_sampling_rate int 0..500
        shuffled_negative_sampling_rate int 0..500
        weight_decay float 0..10""",
    "object2vec": """
        enc0_max_seq_len! int 1..5000
        enc0_vocab_size! int 2..3000000
        bucket_width int 0..100
        comparator_list text
        dropout float 0..1
        early_stopping_patience int 1..5
        early_stopping_tolerance float 0.000001..0.1
        enc_dim int 4..10000
        enc0_network hcnn bilstm pooled_embedding
        enc0_cnn_filter_width int 1..9
        enc0_freeze_pretrained_embedding True False
        enc0_layers auto / int 1..4
        enc0_pretrained_embedding_file text
        enc0_token_embedding_dim int 2..1000
        enc0_vocab_file text
        enc1_network enc0 hcnn bilstm pooled_embedding
        enc1_cnn_filter_width int 1..9
        enc1_freeze_pretrained_embedding True False
        enc1_layers auto / int 1..4
        enc1_max_seq_len int 1..5000
        enc1_pretrained_embedding_file text
        enc1_token_embedding_dim int 2..1000
        enc1_vocab_file text
        enc1_vocab_size int 2..3000000
        epochs int 1..100
        learning_rate float 0.000001..1
        mini_batch_size int 1..10000
        mlp_activation tanh relu linear
        mlp_dim int 2..10000
        mlp_layers int 0..10
        negative_sampling_rate int 0..
        num_classes int 2..30
        optimizer adadelta adagrad adam sgd rmsprop
        output_layer softmax mean_squared_error
        tied_token_embedding_weight True False
        token_embedding_storage_type dense row_sparse
        weight_decay float 0..10000""",
    "image-classification": """
        num_classes! int 2..
        num_training_samples! int 1..
        use_pretrained_model 0 1
        checkpoint_frequency int 1..
        num_layers 18 20 32 34 44 50 56 101 110 152 200
        resize int 1..
        epochs int 1..
        learning_rate float 0..1
        lr_scheduler_factor float 0..1
        lr_scheduler_step text
        optimizer sgd adam rmsprop nag
        momentum float 0..1
        weight_decay float 0..1
        beta_1 float 0..1
        beta_2 float 0..1
        eps float 0..1
        gamma float 0..1
        mini_batch_size int 1..
        image_shape text
        augmentation_type crop crop_color crop_color_transform
        top_k int 2..
        kv_store dist_sync dist_async
        multi_label 0 1
        precision_dtype float32 float16""",
    "object-detection": """
        num_classes! int 1..
        num_training_samples! int 1..
        base_network vgg-16 resnet-50
        early_stopping True False
        early_stopping_min_epochs int 1..
        early_stopping_patience int 1..
        early_stopping_tolerance float 0..1
        image_shape int 300..
        epochs int 1..
        freeze_layer_pattern text
        kv_store dist_sync dist_async
        label_width int 1..
        learning_rate float >0..1
        lr_scheduler_factor float >0..1
        lr_scheduler_step text
        mini_batch_size int 1..
        momentum float >0..1
        nms_threshold float >0..1
        optimizer sgd adam rmsprop adadelta
        overlap_threshold float >0..1
        use_pretrained_model 0 1
        weight_decay float >0..1""",
    "semantic-segmentation": """
        num_classes! int 2..254
        num_training_samples! int 1..
        backbone resnet-50 resnet-101
        use_pretrained_model True False
        algorithm fcn psp deeplab
        base_size int 17..
        crop_size int 17..
        early_stopping True False
        early_stopping_min_epochs int 1..
        early_stopping_patience int 1..
        early_stopping_tolerance float 0..1
        epochs int 1..
        gamma1 float 0..1
        gamma2 float 0..1
        learning_rate float >0..1
        lr_scheduler step poly cosine
        lr_scheduler_factor float 0..1
        lr_scheduler_step text
        mini_batch_size int 1..
        momentum float >0..1
        optimizer adam adagrad nag rmsprop sgd
        syncbn True False
        validation_mini_batch_size int 1..
        weight_decay float >0..1""",
    "seq2seq": """
        max_seq_len_source int 1..
        max_seq_len_target int 1..
        encoder_type rnn cnn
        decoder_type rnn cnn
        num_layers_encoder int 1..
        num_layers_decoder int 1..
        rnn_num_hidden int 1..
        rnn_cell_type lstm gru
        rnn_decoder_state_init last avg zero
        rnn_residual_connections true false
        rnn_first_residual_layer int 1..
        cnn_kernel_width_encoder int 1..
        cnn_kernel_width_decoder int 1..
        cnn_num_hidden int 1..
        cnn_activation_type glu relu softrelu sigmoid tanh
        cnn_hidden_dropout float 0..1
        num_embed_source int 1..
        num_embed_target int 1..
        embed_dropout_source float 0..1
        embed_dropout_target float 0..1
        rnn_attention_type dot fixed mlp bilinear
        rnn_attention_num_hidden int 1..
        rnn_attention_in_upper_layers true false
        rnn_decoder_hidden_dropout float 0..1
        batch_size int 1..
        bucketing_enabled true false
        bucket_width int 1..
        loss_type cross-entropy
        training_metric perplexity accuracy
        optimized_metric perplexity accuracy bleu
        bleu_sample_size int -1..
        max_num_batches int -1..
        checkpoint_frequency_num_batches int 1..
        checkpoint_threshold int 1..
        max_num_epochs int 1..
        optimizer_type adam sgd rmsprop
        weight_init_type uniform xavier
        weight_init_scale float
        xavier_factor_type in out avg
        learning_rate float
        weight_decay float
        momentum float
        clip_gradient float
        lr_scheduler_type plateau_reduce fixed_rate_inv_t fixed_rate_inv_sqrt_t
        plateau_reduce_lr_factor float
        plateau_reduce_lr_threshold int 1..
        fixed_rate_lr_half_life int 1..
        beam_size int 1..""",
    "lda": """
        num_topics! int 1..
        mini_batch_size! int 1..
        feature_dim int 1..
        alpha0 float >0..
        max_restarts int 1..
        max_iterations int 1..
        tol float >0..""",
    "ntm": """
        num_topics! int 2..1000
        feature_dim int 1..1000000
        batch_norm true false
        clip_gradient float 0.001..
        encoder_layers text
        encoder_layers_activation sigmoid tanh relu
        epochs int 1..
        learning_rate float 0.000001..1
        mini_batch_size int 1..10000
        num_patience_epochs int 1..
        optimizer sgd adam adagrad adadelta rmsprop
        rescale_gradient float 0.001..1
        sub_sample float 0..1
        tolerance float 0.000001..0.1
        weight_decay float 0..1""",
    "blazingtext": """
        mode! batch_skipgram skipgram cbow supervised
        batch_size int 1..
        buckets int 1..
        early_stopping True False
        epochs int 1..
        evaluation True False
        learning_rate float >0..
        min_char int 1..
        min_count int 0..
        max_char int 1..
        min_epochs int 1..
        negative_samples int 1..
        patience int 1..
        sampling_threshold float >0..
        subwords True False
        vector_dim int 1..
        window_size int 1..
        word_ngrams int 1..""",
}


@dataclass(frozen=True)
class Setting:
    """One hyperparameter: what it may be, in words and as a test of its text."""

    name: str
    required: bool
    words: str
    allows: Callable[[str], bool]


@functools.cache
def settings_of(name: str) -> dict[str, Setting]:
    """The hyperparameters of a built-in algorithm by name."""
    found = {}
    for line in _TABLES[name].strip().splitlines():
        key, _, rule = line.strip().partition(" ")
        parts = [part.strip() for part in rule.split(" / ")]
        tests = [_test(part) for part in parts]

        def allows(text: str, tests: list[Callable[[str], bool]] = tests) -> bool:
            return any(test(text) for test in tests)

        found[key.rstrip("!")] = Setting(key.rstrip("!"), key.endswith("!"), " or ".join(map(_words, parts)), allows)
    return found


def hyperparameter_problems(name: str, given: Mapping[str, str]) -> list[Problem]:
    """What the service would refuse after it has started machines, or ignore; `given` as strings."""
    known, found = settings_of(name), []
    for key, text in given.items():
        field = f"model.hyperparameters.{key}"
        if key not in known:
            close = difflib.get_close_matches(key, list(known), n=1)
            mend = f"write {close[0]!r}" if close else f"use one of {', '.join(known)}"
            found.append(Problem(field, repr(text), f"{name} does not take it", mend))
        elif not known[key].allows(text):
            found.append(Problem(field, repr(text), f"{name} does not take this value", f"write {known[key].words}"))
    for key, setting in known.items():
        if setting.required and key not in given:
            field = f"model.hyperparameters.{key}"
            found.append(Problem(field, "nothing", f"{name} needs it", f"write {setting.words}"))
    return found


def _test(rule: str) -> Callable[[str], bool]:
    kind, _, span = rule.partition(" ")
    if kind == "text":
        return lambda text: bool(text)
    if kind not in ("int", "float"):
        words = frozenset(rule.split())
        return lambda text: text in words
    least, above, most = _span(span)

    def inside(text: str) -> bool:
        try:
            value = int(text) if kind == "int" else float(text)
        except ValueError:
            return False
        # The comparisons are false for NaN.
        return (value > least if above else value >= least) and value <= most

    return inside


def _span(text: str) -> tuple[float, bool, float]:
    least, _, most = text.partition("..")
    return (
        float(least.lstrip(">")) if least else float("-inf"),
        least.startswith(">"),
        float(most) if most else float("inf"),
    )


def _words(rule: str) -> str:
    kind, _, span = rule.partition(" ")
    if kind == "text":
        return "text"
    if kind not in ("int", "float"):
        return " or ".join(rule.split())
    least, _, most = span.partition("..")
    words = "a whole number" if kind == "int" else "a number"
    if least:
        words += f" above {least[1:]}" if least.startswith(">") else f" of at least {least}"
    return words + (f" and at most {most}" if most else "")
