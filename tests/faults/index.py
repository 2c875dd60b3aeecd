"""Which test stands for which fault: the list of what can go wrong, and where it is made to.

`tests` are the names of test functions by file, under `tests`; `left` says what of a fault no test brings
about, or why it does not apply. The numbers are those by which the tests here are called.
"""

from __future__ import annotations

from dataclasses import dataclass

TORTURE = "torture/test_torture.py::test_nothing_is_lost_or_doubled_by_any_kind_of_fault"
WORKERS = "torture/test_workers.py::test_every_fire_ends_once_whatever_is_done_to_workers"
HISTORIES = "simulation/test_simulation.py::test_no_history_of_replicas_breaks_the_promise"


@dataclass(frozen=True)
class Fault:
    """A fault in words, the tests that bring it about, and what is left."""

    what: str
    tests: tuple[str, ...] = ()
    left: str = ""


INDEX: dict[str, Fault] = {
    # A. The dispatcher's process.
    "F01": Fault(
        "killed at random",
        (
            TORTURE, HISTORIES,
            "broker/test_cli_run.py::test_fires_are_committed_and_a_signal_ends_it_well",
            "broker/test_replicas.py::test_a_restart_goes_on_before_the_session_of_its_dead_process_is_over",
            "broker/test_daemon_faults.py::test_kills_in_the_middle_of_a_backlog_lose_and_double_nothing",
        ),
    ),
    "F02": Fault(
        "killed at a named step of a transaction, a fence, a replay, a change, a hand-over",
        (
            TORTURE, HISTORIES,
            "broker/test_shard_log.py::test_after_a_kill_inside_a_transaction_the_successor_reads_a_whole_ledger",
            "broker/test_daemon_faults.py::test_a_change_in_pieces_survives_kills_between_them",
            "broker/test_burst.py::test_a_kill_while_a_burst_waits_loses_and_doubles_nothing",
            "unit/test_shard_thread.py::test_whatever_becomes_of_a_commit_nothing_is_lost_or_doubled",
        ),
    ),
    "F03": Fault(
        "frozen in the middle of a transaction for longer than its session, then going on",
        (
            TORTURE, HISTORIES,
            "broker/test_shard_log.py::test_the_older_of_two_logs_is_fenced_and_nothing_of_it_is_seen",
            "broker/test_burst.py::test_a_successor_makes_what_is_staged_void",
        ),
    ),
    "F04": Fault(
        "stop signals: in a transaction, twice, before it is ready, during a reload; a storm of SIGHUP",
        (
            "broker/test_cli_run.py::test_fires_are_committed_and_a_signal_ends_it_well",
            "faults/test_process.py::test_f04_a_storm_of_sighup_and_a_sigterm_amid_a_reload_end_well",
            "faults/test_process.py::test_f04_a_sigterm_before_it_is_ready_ends_it_at_once",
            "faults/test_network.py::test_f04_a_stop_while_nobody_answers_takes_no_longer_than_it_may_and_a_second_signal_ends_it",
            "unit/test_daemon_words.py::test_a_signal_that_another_thread_gets_is_obeyed",
        ),
    ),
    "F05": Fault(
        "too little memory",
        (
            "faults/test_process.py::test_f05_a_loading_child_without_memory_is_told_and_the_next_one_loads",
            "unit/test_feed_compare.py::test_a_child_that_is_killed_at_work_is_no_wedge",
            "unit/test_children.py::test_no_child_takes_all_memory",
            TORTURE,
        ),
        "the kernel ends a process that has used up its group's memory by SIGKILL: for the dispatcher as a"
        " whole that is F01",
    ),
    "F06": Fault(
        "no descriptor, no process, no thread left",
        (
            "faults/test_process.py::test_f06_without_a_descriptor_left_it_fires_on_says_so_and_recovers",
            "faults/test_process.py::test_f06_without_a_process_or_thread_left_it_fires_on_says_so_and_recovers",
            "unit/test_handler_shell.py::test_a_program_that_leaks_open_files_hurts_itself_alone",
        ),
    ),
    "F07": Fault(
        "suspended for minutes",
        (
            TORTURE, HISTORIES,
            "unit/test_catching_up.py::test_an_outage_is_settled_by_policy_and_grace",
            "unit/test_clock_hold.py::test_a_jump_is_told_and_nothing_is_settled_by_the_wrong_clock",
        ),
        "a frozen process cannot tell seconds from minutes: no test waits for ten of them. A machine that"
        " slept for longer than clock_jump_limit_seconds is held like one whose clock jumped",
    ),
    "F08": Fault(
        "two processes of one name",
        (
            "broker/test_replicas.py::test_a_second_process_of_one_name_on_one_machine_is_refused",
            "broker/test_replicas.py::test_two_machines_of_one_name_quarrel_once_and_every_fire_is_committed_once",
            "broker/test_replicas.py::test_a_twin_that_claims_by_the_ledgers_word_yields_and_both_are_told_what_to_do",
            "broker/test_work.py::test_two_workers_of_one_name_on_one_machine_are_refused",
        ),
    ),
    "F09": Fault(
        "old and new version together, a ledger of the next format, a roll-back",
        (
            "broker/test_replicas.py::test_a_ledger_record_of_a_newer_version_is_refused_and_nothing_is_written",
            "broker/test_replicas.py::test_in_a_mixed_group_the_newer_version_gets_every_shard",
            "unit/test_ledger_facts.py::test_a_newer_format_is_refused_with_what_to_do",
            "unit/test_ledger_facts.py::test_what_older_dispatchers_would_take_for_something_else_bears_the_format_they_refuse",
            "unit/test_ledger_facts.py::test_a_position_is_read_from_a_record_of_before_that_says_when_it_was_settled",
        ),
    ),
    "F10": Fault(
        "down for hours, for a month",
        (
            "unit/test_catching_up.py::test_an_outage_is_settled_by_policy_and_grace",
            "unit/test_catching_up.py::test_crashes_in_the_middle_of_a_month_lose_double_and_repeat_nothing",
            "unit/test_catching_up.py::test_all_sends_the_latest_up_to_the_cap_and_tells_the_others",
            "unit/test_month_of_backlog.py::test_a_month_of_ten_thousand_jobs_survives_crashes",
            "broker/test_daemon_faults.py::test_missed_says_what_the_next_start_really_does",
        ),
    ),
    "F11": Fault(
        "settings or a schedule that end each start",
        (
            "broker/test_cli_run.py::test_an_invalid_file_at_the_first_start_exits_with_3_and_all_problems",
            "broker/test_cli_run.py::test_missing_topics_exit_with_4_and_the_command_that_mends",
            "unit/test_cli.py::test_invalid_settings_and_schedules_exit_with_3",
        ),
        "that a supervisor starts it no more, or seldom, is the unit's matter: RestartPreventExitStatus,"
        " StartLimit",
    ),
    # B. Brokers and topics.
    "F12": Fault(
        "a broker killed or restarted; too few copies in sync",
        (
            "broker/test_daemon_faults.py::test_a_broker_that_is_frozen_and_killed_under_load_costs_no_fire",
            "broker/test_shard_log.py::test_a_shard_goes_on_after_its_broker_was_killed",
            "faults/test_disk.py::test_f12_below_the_least_copies_in_sync_nothing_counts_as_done",
        ),
        "kills and restarts of one of three brokers are phases of `make torture`; three brokers, two of them"
        " frozen, are a long test",
    ),
    "F13": Fault(
        "a broker that is frozen, also for longer than transactions may last",
        (
            TORTURE,
            "broker/test_daemon_faults.py::test_a_broker_that_is_frozen_and_killed_under_load_costs_no_fire",
            "broker/test_replicas.py::test_a_broker_that_is_silent_costs_the_shards_and_the_claim_to_be_well_until_it_is_back",
        ),
    ),
    "F14": Fault(
        "a broker's disk is full",
        (
            "faults/test_disk.py::test_f14_a_full_disk_stops_the_broker_and_costs_no_fire_once_there_is_room",
        ),
    ),
    "F15": Fault(
        "topics missing, deleted, made anew, of other partitions, of unfit settings",
        (
            "broker/test_topics.py::test_a_topic_of_the_wrong_shape_is_told_and_mended_where_that_is_safe",
            "broker/test_topics.py::test_a_topic_made_again_has_another_identity",
            "broker/test_topics.py::test_more_partitions_in_a_multiple_of_the_shards_will_do",
            "broker/test_cli_run.py::test_missing_topics_exit_with_4_and_the_command_that_mends",
            "broker/test_daemon_faults.py::test_fires_that_cannot_be_sent_are_recorded_skips_and_the_others_go_on",
            "broker/test_recover.py::test_a_ledger_that_cannot_be_trusted_is_refused_and_begun_anew",
            "broker/test_recover.py::test_commands_that_were_re_created_cost_no_fire",
            "broker/test_recover.py::test_another_number_of_shards_is_refused_with_the_ways_there_are",
            "unit/test_shard_thread.py::test_a_ledger_truncated_while_it_runs_ends_the_shard",
        ),
    ),
    "F16": Fault(
        "rights taken away, a password changed, certificates expired, of a stranger, of another host",
        (
            "security/test_rights.py::test_a_start_names_each_right_that_is_missing_and_what_grants_it",
            "security/test_rights.py::test_a_shard_that_may_not_use_its_transactional_id_says_so",
            "faults/test_rights.py::test_f16_rights_and_passwords_that_change_while_it_runs_are_told_by_name_and_it_goes_on",
            "faults/test_rights.py::test_f16_a_certificate_that_is_not_to_be_trusted_is_told_at_the_start",
            "faults/test_rights.py::test_f16_a_certificate_that_expires_while_it_runs_is_told_and_it_goes_on_with_the_next",
        ),
    ),
    "F17": Fault(
        "a transactional id that expired while nothing was due",
        (
            "faults/test_disk.py::test_f17_an_id_that_expired_while_nothing_was_due_is_taken_anew_and_each_fire_is_sent_once",
        ),
    ),
    "F18": Fault(
        "a record that is too large, or that brokers refuse",
        (
            "broker/test_daemon_faults.py::test_fires_that_cannot_be_sent_are_recorded_skips_and_the_others_go_on",
            "broker/test_daemon_faults.py::test_a_job_too_large_for_its_lane_takes_force_and_can_be_edited",
            "broker/test_shard_log.py::test_a_message_that_cannot_be_sent_is_told_and_nothing_is_committed",
            "unit/test_culprit.py::test_a_time_out_is_cornered_and_blamed_only_after_a_second_one_and_a_probe",
            "unit/test_loader.py::test_a_job_too_large_for_its_ledger_record_is_refused",
        ),
    ),
    "F19": Fault(
        "a stranger with a shard's transactional id",
        (
            "faults/test_process.py::test_f19_a_stranger_that_fences_a_shard_is_named_and_there_is_no_tug_of_war",
            "unit/test_shard_thread.py::test_who_was_fenced_learns_what_the_other_did_and_goes_on_after_a_while",
        ),
    ),
    "F20": Fault(
        "compaction beside a replay",
        (
            HISTORIES,
            "unit/test_reading_on.py::test_reading_on_after_compaction_ends_where_a_restore_does",
            "unit/test_ledger_facts.py::test_a_restore_does_not_depend_on_the_order_of_the_records",
            "broker/test_tail.py::test_a_copy_out_of_touch_for_half_the_life_of_a_tombstone_is_read_again",
            "broker/test_tail.py::test_a_copy_below_the_start_of_the_log_is_read_again",
        ),
        "with a real cleaner it is measured by the bench `plateau`",
    ),
    "F21": Fault(
        "a transaction left open on the ledger",
        (
            "broker/test_shard_log.py::test_a_hanging_foreign_transaction_is_told_and_never_read_past",
            "broker/test_shard_log.py::test_a_read_reaches_the_end_over_what_an_open_transaction_left_behind",
        ),
    ),
    "F22": Fault(
        "brokers out of reach at the start: silent, of no address, known by a wrong one",
        (
            "broker/test_cli_run.py::test_kafka_that_does_not_answer_in_time_exits_with_4",
            "faults/test_network.py::test_f22_a_name_that_is_not_resolved_is_told_at_the_start",
            "faults/test_network.py::test_f22_an_advertised_listener_that_leads_astray_is_told_at_the_start",
            "faults/test_network.py::test_f22_names_that_are_resolved_no_more_while_it_runs_are_told_and_it_goes_on",
            "unit/test_shard_thread.py::test_a_shard_is_taken_once_kafka_answers",
        ),
    ),
    # C. The network.
    "F23": Fault(
        "one replica cut off, in both ways or one",
        (
            "faults/test_network.py::test_f23_who_is_cut_off_loses_its_shards_and_two_never_own_one",
            HISTORIES,
        ),
    ),
    "F24": Fault(
        "a late EndTxn",
        (
            "broker/test_late_end_txn.py::test_a_late_commit_changes_nothing_once_its_producer_is_thrown_away",
            "broker/test_late_end_txn.py::test_a_late_abort_changes_nothing_once_its_producer_is_thrown_away",
            "broker/test_late_end_txn.py::test_without_that_a_late_commit_doubles_a_fire",
            "broker/test_late_end_txn.py::test_without_that_a_late_abort_loses_a_fire",
            "broker/test_late_end_txn.py::test_a_dispatcher_whose_commits_come_late_loses_and_doubles_nothing",
            "simulation/test_simulation.py::test_without_any_one_safety_rule_a_history_breaks_the_promise",
        ),
    ),
    "F25": Fault(
        "the answer to a commit is lost",
        (
            "broker/test_late_end_txn.py::test_a_commit_whose_answer_is_lost_counts_once_and_is_looked_at_again",
            "broker/test_shard_log.py::test_a_commit_without_an_answer_fails_in_time_and_the_ledger_knows_the_outcome",
            "unit/test_together.py::test_a_suspect_commit_that_was_done_is_not_done_again",
        ),
    ),
    "F26": Fault(
        "resets, half-open connections, slow and thin lines",
        (
            "faults/test_network.py::test_f26_resets_half_open_and_slow_lines_cost_no_fire_and_raise_no_storm",
        ),
    ),
    # D. Clock and calendar.
    "F27": Fault(
        "the wall clock jumps, forth and back",
        (
            TORTURE, HISTORIES,
            "unit/test_clock_hold.py::test_a_jump_is_told_and_nothing_is_settled_by_the_wrong_clock",
            "unit/test_clock_hold.py::test_a_jump_of_years_that_is_accepted_is_bounded_by_the_cap",
            "unit/test_shard.py::test_a_clock_that_went_back_fires_nothing_twice",
            "unit/test_shard_thread.py::test_a_clock_apart_from_the_brokers_holds_the_shard_at_its_start",
            "unit/test_burst_thread.py::test_however_often_the_clock_is_set_back_it_waits_for_a_bounded_time",
        ),
    ),
    "F28": Fault(
        "replicas whose clocks differ",
        (
            HISTORIES,
            "unit/test_shard.py::test_an_edit_after_the_clock_stepped_back_plans_nothing_again",
        ),
        "machines of a history are up to 1.5 s apart, and stepped further",
    ),
    "F29": Fault(
        "changes of clocks, zones and rules, month ends, leap days",
        (
            "unit/test_cron_clocks.py::test_fires_near_a_change_of_clocks_are_the_oracles",
            "unit/test_cron_clocks.py::test_common_expressions_are_right_at_every_change_of_a_zone",
            "unit/test_cron_clocks.py::test_documented_examples_of_the_rule_hold",
            "unit/test_cron.py::test_a_leap_day_on_a_weekday_is_found_over_forty_years",
            "unit/test_zone.py::test_tables_hold_every_change_that_the_data_lists",
            "unit/test_shard.py::test_new_rules_of_time_are_a_change_of_their_own",
        ),
        "there are no leap seconds in the time that computers tell",
    ),
    "F30": Fault(
        "expressions that never match, or take for ever",
        (
            "unit/test_cron.py::test_what_is_not_the_dialect_is_refused_with_advice",
            "unit/test_cron.py::test_the_ends_of_time_are_borne",
            "unit/test_cron_clocks.py::test_a_jump_is_never_walked_match_by_match",
            "unit/test_trigger.py::test_a_year_of_seconds_is_counted_without_walking_it",
        ),
    ),
    # E. The schedule file.
    "F31": Fault(
        "half-written",
        (
            "unit/test_feed_faults.py::test_a_half_written_file_changes_nothing_and_the_whole_one_takes_force",
            "unit/test_feed_faults.py::test_a_file_written_in_many_small_pieces_is_never_told_broken",
            "unit/test_feed_settling.py::test_a_content_counts_when_it_was_read_twice_this_far_apart",
        ),
    ),
    "F32": Fault(
        "the ways of editors and tools to write",
        (
            "unit/test_feed_edits.py::test_an_edit_takes_force_once",
            "unit/test_watcher.py::test_reading_it_and_files_beside_it_do_not_wake",
        ),
    ),
    "F33": Fault(
        "a ConfigMap's swap",
        (
            "unit/test_feed_faults.py::test_a_config_map_swap_takes_force_and_so_does_the_next",
            "unit/test_watcher.py::test_a_swap_of_the_link_wakes_and_the_new_directory_is_watched",
        ),
    ),
    "F34": Fault(
        "gone and back; a directory, a FIFO, a device, a link that leads nowhere or to itself",
        (
            "unit/test_feed_faults.py::test_a_file_that_becomes_something_else_and_comes_back",
            "unit/test_feed_faults.py::test_a_file_that_is_not_there_at_the_start_is_told_and_awaited",
            "unit/test_feed_file.py::test_what_is_not_a_readable_file_is_refused_in_words",
        ),
    ),
    "F35": Fault(
        "not to be read: no right, an error of the disk, a slow disk",
        (
            "unit/test_feed_file.py::test_a_file_of_another_user_is_refused_in_words",
            "faults/test_file.py::test_f35_an_error_of_the_disk_is_told_and_fires_go_on",
            "faults/test_file.py::test_f35_a_disk_that_takes_its_time_holds_no_fire_up",
        ),
        "the slow disk is a child that is stopped before it reads",
    ),
    "F36": Fault(
        "an edit of the same size and time; inotify exhausted",
        (
            "unit/test_feed_faults.py::test_an_edit_of_the_same_size_and_time_is_found",
            "unit/test_feed_settling.py::test_the_bytes_are_looked_at_each_minute_though_nothing_tells_of_a_change",
            "faults/test_file.py::test_f36_where_inotify_is_exhausted_the_file_is_polled",
            "unit/test_watcher.py::test_where_nothing_can_be_watched_it_says_so_and_goes_on",
        ),
    ),
    "F37": Fault(
        "a hundred swaps a second",
        (
            "faults/test_file.py::test_f37_a_storm_of_swaps_makes_no_fire_later",
            "faults/test_file.py::test_f37_a_minute_of_a_hundred_swaps_a_second_makes_no_fire_later",
            "unit/test_feed_faults.py::test_a_reload_storm_ends_with_the_last_valid_content",
        ),
    ),
    "F38": Fault(
        "a file of a gigabyte, of a million jobs",
        (
            "faults/test_file.py::test_f38_a_sparse_gigabyte_is_refused_unread",
            "unit/test_feed_file.py::test_the_cap_holds_for_a_sparse_gigabyte_without_reading_it",
            "unit/test_cli_schedule.py::test_too_large_a_file_is_refused_before_it_is_read",
        ),
        "a million jobs are the bench `million`",
    ),
    "F39": Fault(
        "what JSON allows and nobody means",
        (
            "unit/test_loader.py::test_a_file_is_refused",
            "unit/test_loader.py::test_refused_at_its_place",
            "unit/test_loader.py::test_names_given_twice_are_refused_with_the_line_of_the_first",
            "unit/test_loader.py::test_all_problems_are_told_at_once_in_file_order",
            "unit/test_feed_json.py::test_a_damaged_text_is_accepted_exactly_when_the_reference_accepts_it",
            "unit/test_feed_json.py::test_every_refused_thing_is_told_and_the_walk_goes_on",
        ),
    ),
    "F40": Fault(
        "edited in the very second that it is due; replicas that see versions apart",
        (
            TORTURE, HISTORIES,
            "unit/test_shard.py::test_fires_planned_between_seen_and_applied_are_of_the_new_version",
            "unit/test_shard.py::test_a_removed_job_still_owes_what_it_planned_before",
            "unit/test_shard_histories.py::test_no_history_loses_or_doubles_a_fire",
            "broker/test_replicas.py::test_a_replica_with_an_older_file_keeps_the_schedule_in_force",
        ),
    ),
    # F. Workers and handlers.
    "F41": Fault(
        "messages that are no runs",
        (
            "broker/test_work.py::test_poison_is_dead_once_and_the_partition_moves_on",
            "unit/test_pool.py::test_what_nobody_can_run_is_dead_once_and_the_partition_goes_on",
            "unit/test_settling.py::test_poison_is_dead_once_with_what_can_be_told_of_it",
            "unit/test_run.py::test_what_is_no_run_says_why",
            "unit/test_headers.py::test_headers_that_cannot_be_read_make_a_message_poison_and_end_nothing",
        ),
    ),
    "F42": Fault(
        "workers that join and leave all the time",
        (WORKERS, "broker/test_work_log.py::test_two_members_share_the_partitions_and_say_what_goes"),
        "by the classic protocol, which is the one that workers speak; ten minutes of it are"
        " `python -m torture.workers --storm 10`",
    ),
    "F43": Fault(
        "a handler slower than polls may be apart",
        ("faults/test_pool.py::test_f43_a_handler_slower_than_polls_may_be_apart_is_not_run_again",),
    ),
    "F44": Fault(
        "programs that hang, ignore SIGTERM, fork, leave their session, flood, leak",
        (
            "unit/test_handler_shell.py::test_a_program_that_ignores_sigterm_is_killed",
            "unit/test_handler_shell.py::test_daemons_in_sessions_of_their_own_end_with_a_run_that_is_overdue",
            "unit/test_handler_shell.py::test_what_leaves_its_session_again_and_again_is_ended",
            "unit/test_handler_shell.py::test_flooded_output_blocks_nothing_and_keeps_head_and_tail",
            "unit/test_handler_shell.py::test_the_end_by_a_signal_is_told_in_words",
            "unit/test_handler_shell.py::test_everything_ends_with_the_worker",
        ),
    ),
    "F45": Fault(
        "servers that drip, flood, bomb, loop, ask for patience, hang up",
        (
            "unit/test_handler_http.py::test_a_server_that_drips_is_not_waited_for",
            "unit/test_handler_http.py::test_an_endless_answer_is_cut_off",
            "unit/test_handler_http.py::test_a_bomb_does_not_go_off",
            "unit/test_handler_http.py::test_a_loop_of_redirects_ends",
            "unit/test_handler_http.py::test_retry_after_is_heard_as_seconds_or_date",
            "unit/test_handler_http.py::test_an_answer_that_is_none_may_mean_that_it_was_done",
        ),
    ),
    "F46": Fault(
        "databases: locks, deadlocks, an end after COMMIT was sent, huge results",
        (
            "broker/test_handler_sql.py::test_a_lock_that_does_not_come_free_is_named",
            "broker/test_handler_sql.py::test_a_deadlock_may_be_tried_again",
            "broker/test_handler_sql.py::test_a_connection_that_is_lost_after_commit_was_sent_may_have_done_it",
            "broker/test_handler_sql.py::test_a_huge_result_is_read_without_being_kept",
            "broker/test_handler_sql.py::test_a_statement_that_takes_too_long_is_ended_by_the_server",
        ),
    ),
    "F47": Fault(
        "callables that end their process, hold the interpreter, grow, cannot be imported",
        (
            "unit/test_children.py::test_what_a_callable_does_to_its_process_hurts_no_other",
            "unit/test_children.py::test_what_does_not_end_is_ended",
            "unit/test_children.py::test_a_module_that_cannot_be_imported_hurts_no_other_run",
            "unit/test_children.py::test_a_child_that_has_grown_is_not_used_again",
        ),
    ),
    "F48": Fault(
        "a worker killed between the effect and its offset",
        (WORKERS, "broker/test_work.py::test_a_killed_worker_hands_over_what_it_had_with_the_same_id"),
    ),
    "F49": Fault(
        "no topic of dead letters",
        (
            "broker/test_work.py::test_a_topic_of_dead_letters_that_is_gone_stops_commits_and_says_so",
            "unit/test_pool.py::test_a_transaction_that_failed_is_not_tried_again_for_each_delivery",
        ),
    ),
    "F50": Fault(
        "thousands of jobs whose dependency is down",
        (
            "faults/test_pool.py::test_f50_a_storm_of_retries_is_spread_and_holds_nobody_up",
            "faults/test_pool.py::test_f50_ten_thousand_jobs_that_fail_are_spread_and_hold_nobody_up",
            "unit/test_settling.py::test_waits_double_up_to_their_cap_and_are_spread_over_their_second_half",
            "unit/test_asked.py::test_many_retries_are_obeyed_in_batches_and_fires_go_out_in_between",
        ),
    ),
    "F51": Fault(
        "load that comes and goes",
        (
            "unit/test_scaling.py::test_no_run_is_lost_or_waits_long_and_seats_seldom_change",
            "unit/test_scaling.py::test_so_many_changes_a_minute_and_no_more",
            "unit/test_scaling.py::test_never_below_what_is_busy",
        ),
    ),
    "F52": Fault(
        "the group's offsets have expired",
        (
            "broker/test_work.py::test_a_group_whose_offsets_have_expired_begins_where_the_operator_says_and_tells",
        ),
    ),
    # G. The control surface.
    "F53": Fault(
        "commands malformed, repeated, replayed, stale",
        (
            "unit/test_command.py::test_what_is_no_command_is_refused_with_the_reason",
            "unit/test_asked.py::test_a_repeated_trigger_fires_once_and_is_answered_again",
            "unit/test_catching_up.py::test_a_command_that_comes_again_from_an_earlier_read_moves_nothing_back",
            "unit/test_shard_thread.py::test_a_record_that_is_no_command_becomes_an_event_and_is_left_behind",
            "broker/test_asking.py::test_a_word_that_waited_too_long_is_refused",
            "broker/test_words.py::test_what_is_asked_of_jobs_is_done_once_through_kills",
        ),
    ),
    "F54": Fault(
        "very many, slow and rude clients of the views",
        (
            "faults/test_control.py::test_f54_clients_without_number_and_manners_make_no_fire_later",
            "faults/test_control.py::test_f54_ten_thousand_of_them_make_no_fire_later",
        ),
    ),
}  # fmt: skip
