"""Raw texts of one's own, as they lie about: folders of notes or contracts, and mailboxes."""
