"""The change that an edit makes: applied, reverted, saved, composed, exported."""
