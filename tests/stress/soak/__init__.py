"""Ten thousand refreshes with everything going wrong, judged by rules that know nothing of the library's state."""
