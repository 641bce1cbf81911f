//! The whole image as its users meet it: booted by `scripts/run.sh`, driven by real clients and by peers that
//! misbehave. `cargo test --test image -- WORDS` runs the tests whose names hold every word.
//!
//! Booting costs a second and two CPUs are all there may be, so tests share a machine: one boot serves a
//! list of them, in order, each with the image alive before and after.

#[path = "../support/mod.rs"]
mod support;

mod application;
mod boot;
mod checkpoints;
mod chronicle;
mod clients;
mod compat;
mod crashes;
mod diagnosis;
mod differential;
mod disassembly;
mod exporter;
mod faults;
mod frames;
mod hostile_http;
mod hostile_resp;
mod kills;
mod last_life;
mod limits;
mod log_and_clock;
mod machines;
mod matrix;
mod memory;
mod network;
mod pages;
mod parts;
mod prometheus;
mod reports;
mod restarts;
mod runner;
mod settings;
mod tracking;

use runner::{Machine, tests};
use support::guest::image;

fn main() {
    let machines = [
        Machine {
            what: "as `make run` boots it",
            settings: vec![("MEM", "256M".into())],
            tests: tests![
                boot::the_log_tells_the_address_that_dhcp_gave,
                log_and_clock::time_of_day_is_the_machines,
                log_and_clock::boot_stages_follow_each_other,
                clients::redis_cli_sets_gets_counts_and_expires,
                clients::redis_benchmark_runs_as_it_comes,
                clients::redis_py_works_as_it_comes,
                clients::values_of_every_size_and_byte_come_back,
                differential::a_hundred_thousand_random_commands_are_answered_as_redis_answers_them,
                tracking::clients_that_track_get_the_messages_that_redis_sends,
                tracking::messages_come_to_clients_that_ask_nothing,
                exporter::the_redis_exporter_finds_every_family_of_a_redis,
                clients::ioredis_works_as_it_comes,
                prometheus::prometheus_scrapes_each_second_for_a_minute_under_load,
                limits::a_thousand_idle_connections_leave_others_served,
                clients::many_connections_at_once_do_not_wait_for_each_other,
                pages::promtool_finds_nothing_to_say_about_the_metrics,
                pages::every_family_that_this_image_owes_is_there,
                pages::open_metrics_is_answered_where_it_is_accepted,
                compat::the_usual_exporters_names_have_their_types_labels_and_values,
                compat::the_usual_exporters_values_are_those_of_the_clients,
                compat::compat_speaks_both_formats,
                pages::two_scrapes_differ_in_values_only,
                pages::counters_move_with_what_they_count,
                pages::page_cache_counters_of_each_cpu_move_under_load,
                memory::a_get_that_finds_its_key_allocates_nothing,
                pages::time_is_shown_by_what_it_was_spent_on,
                pages::an_idle_image_sleeps,
                pages::health_and_index_answer,
                pages::unknown_pages_and_methods_are_refused_by_their_codes,
                pages::memory_is_shown_by_order_cpu_and_heap,
                pages::diagnosis_sees_nothing_in_a_healthy_image,
                diagnosis::a_healthy_image_has_no_incident_after_all_its_load,
                hostile_resp::every_prefix_of_a_session_leaves_others_served,
                hostile_resp::a_session_in_single_bytes_is_answered,
                hostile_resp::wrong_lengths_are_answered_with_an_error,
                hostile_resp::a_line_without_end_is_refused,
                hostile_resp::random_bytes_leave_others_served,
                hostile_resp::connections_reset_a_hundred_times_leave_others_served,
                hostile_resp::connections_closed_three_hundred_times_leave_others_served,
                hostile_resp::half_a_request_and_silence_hold_nobody_up,
                hostile_http::every_prefix_of_a_request_leaves_others_served,
                hostile_http::malformed_requests_are_refused_by_their_codes,
                hostile_http::a_head_without_end_is_refused,
                hostile_http::pipelined_requests_are_answered_in_order_on_one_connection,
                hostile_http::a_request_that_trickles_in_is_told_408_and_closed,
                hostile_http::random_bytes_leave_others_served,
                hostile_http::resets_in_the_middle_of_an_answer_leave_others_served,
            ],
        },
        Machine {
            what: "as ELF, with little memory and boot arguments that cannot be used",
            settings: vec![
                ("IMAGE", image("nos.elf")),
                ("MEM", "32M".into()),
                (
                    "APPEND",
                    format!("{} nos.maxmemory=1gb console=ttyAMA0", boot::UNUSABLE),
                ),
            ],
            tests: tests![
                boot::boot_arguments_that_cannot_be_used_are_named_in_the_log,
                clients::redis_cli_sets_gets_counts_and_expires,
                memory::filling_the_memory_raises_a_symptom_with_its_evidence,
            ],
        },
        Machine {
            what: "with a limit on the dataset",
            settings: vec![
                ("MEM", "64M".into()),
                ("APPEND", "nos.maxmemory=4mb".into()),
            ],
            tests: tests![memory::a_full_cache_evicts_and_stays_under_its_limit],
        },
        Machine {
            what: "with limits on clients and no eviction",
            settings: vec![("MEM", "64M".into()), ("APPEND", limits::ARGUMENTS.into())],
            tests: tests![
                limits::a_client_beyond_the_limit_is_told_so_and_the_others_stay,
                limits::a_full_dataset_without_eviction_refuses_writes_and_serves_the_rest,
                limits::a_request_beyond_the_query_buffer_limit_ends_its_client_only,
                limits::a_client_that_does_not_read_holds_nobody_up_and_gets_all_in_the_end,
            ],
        },
        Machine {
            what: "with little memory",
            settings: vec![("MEM", "32M".into())],
            tests: tests![memory::keys_give_way_to_requests_where_the_policy_lets_them],
        },
        Machine {
            what: "with little memory and no eviction",
            settings: vec![
                ("MEM", "32M".into()),
                ("APPEND", "nos.maxmemory-policy=noeviction".into()),
            ],
            tests: tests![
                memory::memory_filled_to_the_reserve_without_eviction_refuses_and_serves_on
            ],
        },
        Machine {
            what: "with little memory for its clients",
            settings: vec![("MEM", "16M".into())],
            tests: tests![limits::memory_taken_by_clients_is_given_back_and_the_image_lives],
        },
    ];
    runner::run(
        &machines,
        tests![
            disassembly::barriers_stand_round_every_index_of_the_rings,
            faults::points_are_armed_by_whoever_has_the_token_and_shown_to_all,
            faults::clients_get_right_answers_whatever_fails_below_them,
            faults::a_flipped_bit_in_what_is_stored_is_no_wrong_answer_and_is_named,
            kills::others_never_notice_http_or_diagnosis_die_on_one_cpu,
            kills::others_never_notice_http_or_diagnosis_die_on_two_cpus,
            kills::others_never_notice_http_or_diagnosis_die_on_four_cpus,
            kills::others_never_notice_http_or_diagnosis_die_on_eight_cpus,
            kills::clients_that_wait_are_told_that_the_data_plane_died,
            kills::keys_outlive_the_data_plane_on_one_cpu,
            kills::keys_outlive_the_data_plane_on_two_cpus,
            kills::keys_outlive_the_data_plane_on_eight_cpus,
            kills::a_subsystem_that_answers_no_health_check_is_started_again,
            kills::the_report_of_a_death_is_shown,
            reports::the_table_of_lines_tells_where_each_function_of_the_image_begins,
            reports::a_death_is_told_with_the_lines_it_happened_at_inlined_functions_included,
            reports::a_clients_command_that_hangs_is_named_without_its_data,
            reports::the_next_life_has_the_last_report_and_knows_its_places,
            reports::what_is_no_table_of_lines_of_this_image_is_left_alone,
            diagnosis::deaths_are_named_with_their_evidence_healed_and_counted,
            diagnosis::an_advised_remedy_is_applied_by_who_may,
            restarts::who_allocates_without_end_meets_its_quota_and_not_the_others_memory,
            restarts::a_data_plane_that_allocates_without_end_leaves_the_others_their_memory,
            restarts::hundreds_of_restarts_cost_no_frame,
            kills::too_many_deaths_start_the_machine_again_and_it_says_why,
            disassembly::nothing_exclusive_runs_before_the_caches_are_on,
            disassembly::missing_barriers_are_seen,
            frames::two_hundred_thousand_frames_in_batches_are_all_answered,
            boot::make_run_gets_ready_serves_and_ends_at_ctrl_a_x,
            application::make_run_boots_an_application_of_ones_own,
            application::secrets_are_never_on_the_serial_line,
            boot::eight_megabytes_hold_a_thousand_keys_and_a_scrape,
            boot::too_little_memory_is_one_clear_line_and_an_end,
            matrix::every_pair_of_machine_settings_boots_and_serves,
            settings::every_boot_argument_of_the_readme_is_taken_and_holds,
            network::a_flood_of_syns_is_bounded_and_clients_are_served_in_it_and_after_it,
            network::three_hundred_neighbours_are_served_in_turns,
            network::ten_thousand_connections_fit_in_256_mb_and_all_are_served,
            network::silent_peers_are_probed_and_idle_clients_ended_as_configured,
            network::arp_closed_ports_echo_requests_and_strange_frames_are_answered_as_the_rfcs_say,
            machines::a_network_device_on_pci_serves,
            machines::random_numbers_come_from_the_tree_or_else_from_the_entropy_device,
            machines::every_cpu_is_started_and_shown,
            machines::the_data_plane_is_alone_on_cpu_0_unless_placed_otherwise,
            machines::the_image_runs_at_any_2_mib_of_memory_at_el1_and_el2,
            crashes::a_crash_is_reported_and_ends_as_asked,
            crashes::a_system_error_is_reported_and_ends_as_asked,
            crashes::shutdown_turns_the_machine_off,
            checkpoints::keys_with_and_without_expiry_are_there_after_a_boot,
            checkpoints::a_machine_killed_in_the_middle_of_a_save_has_the_state_before,
            checkpoints::a_disk_that_holds_something_else_is_left_as_it_is,
            checkpoints::disks_on_every_transport_are_saved_to_and_restored_from,
            checkpoints::a_data_plane_that_dies_in_the_middle_of_a_save_loses_no_key_and_saves_again,
            checkpoints::a_disk_that_fails_is_named_and_the_old_checkpoint_stays_until_it_works_again,
            checkpoints::what_is_read_wrong_once_is_read_again_and_what_stays_wrong_gives_way_to_the_one_before,
            checkpoints::a_slow_disk_is_named_while_clients_are_served,
            chronicle::a_disk_remembers_boots_deaths_and_incidents_of_earlier_lives,
            chronicle::an_image_without_a_disk_tells_nothing_of_earlier_lives,
            chronicle::no_turn_of_a_save_is_longer_than_a_millisecond,
            chronicle::the_first_get_after_power_on_is_answered_within_a_tenth_of_a_second,
            parts::the_parts_that_are_there_work_and_the_rest_serves_without_the_others,
            parts::a_network_device_on_pci_is_found_by_an_image_with_that_part_alone,
            parts::an_image_with_that_part_alone_tells_how_its_last_life_ended_and_where,
            last_life::the_life_after_a_crash_tells_why_the_last_one_ended_and_only_that_one,
            last_life::a_halted_machine_tells_why_once_it_is_reset,
            last_life::what_memory_lost_of_the_last_life_is_said_and_not_believed,
            crashes::a_bad_device_tree_is_told_on_the_emergency_console,
            crashes::a_device_tree_that_is_nowhere_is_told,
            log_and_clock::the_log_shows_its_level_and_above,
            log_and_clock::time_of_day_comes_from_the_boot_arguments_before_the_clock,
        ],
    );
}
