"""One file per thing a user can do; everything below is put together here."""
