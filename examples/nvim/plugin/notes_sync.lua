-- :NotesSync brings the notes database of g:notes_sync_database in step with that of g:notes_sync_peer, in the background.
vim.api.nvim_create_user_command("NotesSync", function()
    require("notes_sync").sync()
end, { desc = "Sync the notes database" })
