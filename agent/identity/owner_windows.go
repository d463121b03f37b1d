package identity

// GiveToOwner is for systems where root may write in another user's directory.
func GiveToOwner(string) error { return nil }
