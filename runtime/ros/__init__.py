"""ROS: messages in, disparities and diagnostics out; one core for ROS 1, ROS 2 and recordings, which needs none of them."""
