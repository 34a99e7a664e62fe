"""The real engine on a host that is not there: for the tests of rules, and for replays."""
