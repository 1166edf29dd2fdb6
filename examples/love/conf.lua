-- Without a window, so that the example also runs where there is no display. A game leaves these lines out.
function love.conf(t)
    t.identity = "csync-example"
    t.window = false
    t.modules.window = false
    t.modules.graphics = false
    t.modules.audio = false
    t.modules.joystick = false
end
