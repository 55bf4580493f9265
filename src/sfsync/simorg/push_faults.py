"""What each fault of login and push does and takes, for the control API to say."""

PUSH_FAULTS = {
    "cometd_unknown_client": 'drop the session and say 403::Unknown client; "advice"?: "handshake" | "none" | "absent"',
    "cometd_401": "401::Authentication invalid, though the token is good",
    "cometd_503_busy": "503::Server is too busy hidden beside a 401",
    "cometd_html_503": 'an HTML page instead of Bayeux; "status"?: 503, "body"?',
    "cometd_cut": 'cut the line instead of replying; subject "channel events=N": match "events=[1-9]" loses events',
    "cometd_cut_mid_body": "cut the line in the middle of the reply; same subject",
    "cometd_hang": 'never reply; "s"?: at most that long',
    "cometd_delay": 'reply later; "s"?: 1',
    "cometd_daily_limit": "403::Organization total events daily limit exceeded",
    "cometd_concurrent_limit": 'refuse a handshake; "scope"?: "organization" | "server"',
    "handshake_refuse": 'refuse a handshake; "reason": the failureReason',
    "subscribe_refuse": 'refuse a subscribe; subject: its channel; "error": the text',
    "subscribe_no_reply": "subscribe, but leave the confirmation out; subject: the channel",
    "lose_event": 'an event never reaches the bus; subject of event faults: "Entity/id[,id]"',
    "duplicate_event": "an event is delivered twice under one replay id",
    "malformed_event": 'an event is spoilt; "form"?: "no_header" | "null_payload" | "no_record_ids" | "bad_record_id" '
    '| "unknown_change_type" | "wrong_type" | "null_character" | "no_replay_id"',
    "gap": "the next change of a record is announced as GAP_*, without a body",
    "overflow": "the entity's part of the next transaction is announced as one GAP_OVERFLOW",
    "wildcard": "the next change is announced as GAP_UPDATE of all records (001*)",
    "withhold": "subscribed, but nothing is delivered until cleared; subject: the channel",
    "expire_replay": "all retained events are gone at the next subscribe; subject: the channel",
    "token_refuse": 'the token endpoint refuses; subject: grant_type; "case": a name of login_state, or "error", '
    '"description", "status"',
    "token_status": 'the token endpoint answers with a page; "status"?: 503, "body"?',
}
