//! What stage 2 can and cannot do.

common::testkit::contract! {
    env!("CARGO_BIN_EXE_stage2-threads");

    // What every stage can do.
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

    // What is true of this one.
    the_second_client_is_served_while_the_first_is_silent,
    a_thousand_silent_clients_cost_no_cpu,
    takes_a_thread_per_client,
    a_client_that_does_not_read_stalls_only_its_thread,
    a_reset_leaves_the_others_of_its_batch_alone,
    a_client_that_never_stops_sending_keeps_no_other_waiting,
    who_waited_for_a_descriptor_is_served_when_one_leaves,
    who_waited_for_a_descriptor_is_served_although_no_client_leaves,
    who_waited_for_a_descriptor_is_served_although_another_client_talks,
    an_accept_that_fails_again_and_again_costs_next_to_nothing,
    a_client_is_served_while_accept_fails,
    clients_that_waited_while_accept_failed_are_served_in_the_end,
    a_signal_kills_it,

    // How it is started, and what it says.
    says_where_it_listens_and_nothing_else_on_stdout,
    puts_no_colour_into_a_log_that_is_a_file,
    never_logs_what_a_client_sends,
    serves_on_when_its_log_is_not_read_any_more,
    serves_on_when_its_log_is_stuck,
    says_how_many_lines_of_its_log_were_lost,
    serves_on_when_its_log_may_not_grow,
    serves_although_its_log_cannot_be_written,
    serves_on_when_its_terminal_is_stuck,
    serves_on_when_its_terminal_is_stopped,
    puts_colour_into_a_log_that_is_a_terminal,
    puts_no_colour_into_a_log_when_it_is_not_wanted,
    a_bad_filter_for_its_log_is_one_clear_line,
    exits_with_the_same_code_when_its_error_cannot_be_written,
    exits_when_its_error_is_stuck,
    a_port_in_use_is_one_clear_line,
    a_bad_address_or_option_is_one_clear_line,
    an_interface_that_has_a_name_is_one_clear_line,
    the_address_of_another_machine_is_one_clear_line,
    help_and_version_are_no_errors,
    listens_on_ipv6_too,
}
