//! The C server keeps stage 5's contract, as far as it speaks of clients. So what it is faster at, it is
//! not faster at because it does less. (It has no log and no `--help`.)
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use common::testkit::{contract, skipped};

/// The compiled server. `None` where there is no C compiler.
static PROGRAM: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("epoll_echo");
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs us");
    let source = Path::new(&package).join("../docs/c/epoll_echo.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).arg(source);
    let status = compiler.status().ok()?;
    assert!(status.success(), "the C server does not compile without a warning");
    Some(program)
});

macro_rules! keeps {
    ($($sentence:ident),+ $(,)?) => {
        $(
            #[test]
            fn $sentence() {
                match &*PROGRAM {
                    Some(program) => contract::$sentence(program.to_str().expect("a path of ours")),
                    None => skipped("there is no C compiler `cc`"),
                }
            }
        )+
    };
}

keeps! {
    echoes_64_mib_sent_in_pieces,
    echoes_single_bytes,
    half_close_gets_every_byte_back,
    bytes_that_come_together_with_the_fin_come_back,
    an_urgent_byte_and_those_behind_it_come_back,
    a_client_that_says_nothing_gets_nothing,
    answers_without_delay,
    survives_ctrl_z_and_fg,
    a_reset_in_mid_stream_hurts_no_other_client,
    resets_by_the_hundred_hurt_no_other_client_and_do_not_fill_the_log,
    a_reset_before_accept_hurts_no_other_client,
    comings_and_goings_leave_nothing_behind,
    echoes_64_mib_sent_in_one_stream,
    half_close_after_8_mib_gets_every_byte_back,
    the_second_client_is_served_while_the_first_is_silent,
    a_thousand_silent_clients_cost_no_cpu,
    takes_no_thread_per_client,
    a_client_that_does_not_read_is_kept_and_bounded,
    a_slow_reader_gets_every_byte_back,
    clients_that_only_write_cannot_fill_the_memory,
    an_urgent_byte_makes_later_messages_cost_no_more,
    serves_10_000_clients_for_64_bytes_each,
    a_reset_leaves_the_others_of_its_batch_alone,
    a_client_that_never_stops_sending_keeps_no_other_waiting,
    who_waited_for_a_descriptor_is_served_when_one_leaves,
    who_waited_for_a_descriptor_is_served_although_no_client_leaves,
    who_waited_for_a_descriptor_is_served_although_another_client_talks,
    who_waited_at_the_limit_is_served_when_one_leaves,
    an_accept_that_fails_again_and_again_costs_next_to_nothing,
    a_client_is_served_while_accept_fails,
    clients_that_waited_while_accept_failed_are_served_in_the_end,
    new_clients_wait_while_the_poller_has_no_room,
    new_clients_wait_while_there_is_no_memory_for_their_options,
    talk_costs_no_accept_while_there_is_no_descriptor,
    takes_as_many_descriptors_as_it_may_have,
    a_bad_limit_is_one_clear_line,
    a_negative_limit_is_one_clear_line,
    stops_within_a_second_when_idle,
    stops_within_a_second_with_clients_connected,
    stops_within_a_second_on_two_signals_in_a_row,
    stops_within_a_second_when_its_log_is_stuck,
    stops_although_its_parent_has_blocked_the_signals,
    what_it_has_read_is_still_delivered_when_it_stops,
    what_it_owes_is_delivered_although_the_signal_comes_first,
    a_late_word_destroys_nothing_when_it_stops,
    ends_as_soon_as_the_last_client_has_left,
    stops_within_a_second_with_16_000_silent_clients,
    a_client_that_is_still_sending_gets_a_clean_end_when_it_stops,
    a_client_that_comes_while_it_stops_is_refused,
    goes_on_under_nohup_when_its_terminal_is_closed,
    says_where_it_listens_and_nothing_else_on_stdout,
    a_port_in_use_is_one_clear_line,
    a_bad_address_or_option_is_one_clear_line,
    the_address_of_another_machine_is_one_clear_line,
    listens_on_ipv6_too,
}
